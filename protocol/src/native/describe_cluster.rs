//! DescribeCluster: which cluster this is. Owns the layouts; never draws an id. Any core.

use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::cluster_id::ClusterId;

/// An empty body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeClusterRequest {}

/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 16 | `cluster_id` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeClusterReply {
    /// The same from every node, through every restart.
    pub cluster_id: ClusterId,
}

impl DescribeClusterRequest {
    /// Appends the body to `out`.
    pub fn encode(&self, _out: &mut Vec<u8>) {}

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeClusterRequest, DecodeError> {
        Reader::new("describe cluster request", bytes).finish()?;
        Ok(DescribeClusterRequest {})
    }
}

impl DescribeClusterReply {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u128(self.cluster_id.0);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeClusterReply, DecodeError> {
        let mut reader = Reader::new("describe cluster reply", bytes);
        let cluster_id = ClusterId(reader.u128("cluster_id")?);
        reader.finish()?;
        Ok(DescribeClusterReply { cluster_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::testing::check_golden;

    #[test]
    fn both_have_their_golden_bytes() {
        check_golden(&DescribeClusterRequest {}, "", DescribeClusterRequest::encode, DescribeClusterRequest::decode);
        let reply = DescribeClusterReply { cluster_id: ClusterId(0x0102) };
        let golden = "02010000 00000000 00000000 00000000";
        check_golden(&reply, golden, DescribeClusterReply::encode, DescribeClusterReply::decode);
    }
}
