//! What replies of Produce and Fetch say of a partition's new leader (KIP-951). Owns its layout. Any core.

use super::table::structures;

structures! {
    /// A partition's leader.
    CurrentLeader {
        /// The leader's node, -1 when it is not known.
        leader_id: i32 => 0.., default -1;
        /// Its epoch.
        leader_epoch: i32 => 0.., default -1;
    }

    /// Where a node is.
    NodeEndpoint<'a> {
        /// The node.
        node_id: i32 => 0..;
        /// Its host.
        host: &'a str => 0..;
        /// Its port.
        port: i32 => 0..;
        /// Its rack, null for none.
        rack: Option<&'a str> => 0.., default None;
    }
}
