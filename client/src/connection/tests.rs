//! Tests of one connection against a peer that follows a script, over real sockets.

use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::{DescribeTopicRequest, ListTopicsRequest, StatusReply, error_frame, reply_frame};

use super::*;
use crate::testing::{Peer, config};

const LONG: Duration = Duration::from_secs(30);

fn list(out: &mut Vec<u8>) {
    ListTopicsRequest {}.encode(out);
}

#[tokio::test]
async fn replies_in_reverse_order_find_their_requests() {
    let peer = Peer::start(|mut stream| async move {
        let mut requests = Vec::new();
        for _ in 0..10 {
            requests.push(stream.request().await.unwrap());
        }
        for (header, body) in requests.into_iter().rev() {
            let request = DescribeTopicRequest::decode(&body).unwrap();
            let reply = StatusReply { error: ErrorCode::None, message: request.name };
            stream.send(reply_frame(header.api, header.correlation, |out| reply.encode(out))).await;
        }
        stream.until_closed().await;
    });
    let connection = Connection::connect(peer.address().await, &config()).await.unwrap();
    let calls: Vec<_> = (0..10)
        .map(|number| {
            let connection = connection.clone();
            let request = DescribeTopicRequest { name: format!("topic-{number}") };
            tokio::spawn(async move {
                let encode = |out: &mut Vec<u8>| request.encode(out);
                let reply = connection.call_with(Api::DescribeTopic, LONG, encode).await.unwrap();
                assert_eq!(StatusReply::decode(&reply).unwrap().message, request.name);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(connection.hello().broker, "test peer");
}

#[tokio::test]
async fn a_refusal_carries_the_brokers_code_and_sentence() {
    let peer = Peer::start(|mut stream| async move {
        let (header, _) = stream.request().await.unwrap();
        let code = ErrorCode::Overloaded;
        stream.send(error_frame(header.api, header.correlation, code, "come back later")).await;
        stream.until_closed().await;
    });
    let connection = Connection::connect(peer.address().await, &config()).await.unwrap();
    let error = connection.call_with(Api::ListTopics, LONG, list).await.unwrap_err();
    assert!(error.is_retriable());
    assert!(error.to_string().contains("come back later"), "{error}");
    assert!(!connection.is_ended());
}

#[tokio::test]
async fn a_peer_that_goes_away_fails_what_is_in_flight_and_what_comes_after() {
    let peer = Peer::start(|mut stream| async move {
        stream.request().await.unwrap();
    });
    let connection = Connection::connect(peer.address().await, &config()).await.unwrap();
    for _ in 0..2 {
        let error = connection.call_with(Api::ListTopics, LONG, list).await.unwrap_err();
        assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error}");
    }
    assert!(connection.is_ended());
}

#[tokio::test]
async fn a_request_that_times_out_ends_the_connection() {
    let peer = Peer::start(|mut stream| async move { stream.until_closed().await });
    let connection = Connection::connect(peer.address().await, &config()).await.unwrap();
    let short = Duration::from_millis(20);
    let error = connection.call_with(Api::ListTopics, short, list).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { what: "list topics", .. }), "{error}");
    assert!(connection.is_ended());
}

#[tokio::test]
async fn a_reply_to_nothing_ends_the_connection() {
    let peer = Peer::start(|mut stream| async move {
        let (header, _) = stream.request().await.unwrap();
        stream.send(reply_frame(header.api, CorrelationId(99), |_| {})).await;
        stream.until_closed().await;
    });
    let connection = Connection::connect(peer.address().await, &config()).await.unwrap();
    let error = connection.call_with(Api::ListTopics, LONG, list).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn something_that_is_no_broker_is_named_as_such() {
    let peer = Peer::start_raw(|mut stream| async move {
        stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        stream.until_closed().await;
    });
    let error = Connection::connect(peer.address().await, &config()).await.unwrap_err();
    assert!(error.to_string().contains("does not speak the native protocol"), "{error}");
}
