//! Replicas that a client placed by hand. There is one node, so each partition can be on this one and on no other. Owns the check.

use ouzel_protocol::kafka::{Array, KafkaError};

use super::refusal::Refusal;

/// Whether these nodes can have a partition.
pub(super) fn check(this_node: i32, nodes: &Array<'_, i32>) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(KafkaError::INVALID_REPLICA_ASSIGNMENT, message));
    if let Some(stranger) = nodes.iter().find(|node| *node != this_node) {
        return refused(format!(
            "The manual partition assignment includes broker {stranger}, but no such broker is registered."
        ));
    }
    match nodes.len() {
        0 => refused("The manual partition assignment includes an empty replica list.".to_owned()),
        1 => Ok(()),
        _ => refused(format!("The manual partition assignment includes the broker {this_node} more than once.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_on_this_node_once_and_on_no_other() {
        for (nodes, expected) in [
            (&[7][..], None),
            (&[], Some("an empty replica list")),
            (&[7, 7], Some("the broker 7 more than once")),
            (&[7, 8], Some("broker 8, but no such broker")),
            (&[-1], Some("broker -1, but no such broker")),
        ] {
            let refusal = check(7, &Array::from(nodes)).err();
            assert_eq!(refusal.is_some(), expected.is_some(), "{nodes:?}");
            if let (Some(refusal), Some(expected)) = (refusal, expected) {
                assert_eq!(refusal.error, KafkaError::INVALID_REPLICA_ASSIGNMENT);
                assert!(refusal.message.contains(expected), "{}", refusal.message);
            }
        }
    }
}
