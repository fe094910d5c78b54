//! Waiting for several things at once on one task: for all of them, or for the first. Owns no task and no timer.
//! Small on purpose: each wake-up polls every future that is left, which suits acks that resolve together.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// The outputs of all futures, in their order. Dropping it drops nothing but the waiting.
pub(crate) async fn all<F: Future + Unpin>(futures: &mut [F]) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut is_waiting = false;
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            match Pin::new(future).poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => is_waiting = true,
            }
        }
        if is_waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// The output of whichever future is ready first; never ready when there is none.
pub(crate) async fn first<F: Future + Unpin>(futures: &mut [F]) -> F::Output {
    poll_fn(|cx| {
        for future in futures.iter_mut() {
            if let Poll::Ready(output) = Pin::new(future).poll(cx) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::task::{Context, Waker};

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = u32>>>;

    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn all_keeps_the_order_and_waits_for_the_last() {
        let mut futures: Vec<Boxed> = vec![Box::pin(ready(1)), Box::pin(ready(2))];
        assert_eq!(poll_once(all(&mut futures)), Poll::Ready(vec![1, 2]));
        let mut futures: Vec<Boxed> = vec![Box::pin(ready(1)), Box::pin(std::future::pending())];
        assert_eq!(poll_once(all(&mut futures)), Poll::Pending);
    }

    #[test]
    fn first_takes_the_one_that_is_ready() {
        let mut futures: Vec<Boxed> = vec![Box::pin(std::future::pending()), Box::pin(ready(2))];
        assert_eq!(poll_once(first(&mut futures)), Poll::Ready(2));
        assert_eq!(poll_once(first::<Boxed>(&mut [])), Poll::Pending);
    }
}
