//! Everybody reads the same topics: within one partition of each other, and nothing moves that need not. Owns which
//! partitions a member with too many gives up. Pure.

use super::{MemberIndex, Question};

/// Members keep what they had up to their share, the larger shares going to those that had more; the rest goes round.
pub(super) fn assign(question: &Question) -> Vec<MemberIndex> {
    let mut owners = vec![MemberIndex::NONE; question.partition_count()];
    let Some(topics) = question.members.first() else { return owners };
    let starts = question.starts();
    let partitions = || topics.iter().flat_map(|topic| starts[topic.index()]..starts[topic.index() + 1]);
    let member_count = question.members.len();
    let (least, extra) = (partitions().count() / member_count, partitions().count() % member_count);

    let mut had = vec![0_usize; member_count];
    for partition in partitions() {
        if let Some(had) = had.get_mut(question.previous[partition].index()) {
            *had += 1;
        }
    }
    // Places that each member has left. `extra` members have a place more: those that had more than the least, then the first.
    let mut places = vec![least; member_count];
    let more = (0..member_count).filter(|&member| had[member] > least);
    let others = (0..member_count).filter(|&member| had[member] <= least);
    for member in more.chain(others).take(extra) {
        places[member] += 1;
    }
    for partition in partitions() {
        let owner = question.previous[partition];
        if let Some(places) = places.get_mut(owner.index()).filter(|places| **places > 0) {
            *places -= 1;
            owners[partition] = owner;
        }
    }
    // Round, not member after member: the partitions of one topic are often the load of one source.
    let mut open: Vec<usize> = (0..member_count).filter(|&member| places[member] > 0).collect();
    let mut next = 0;
    for partition in partitions() {
        if owners[partition] != MemberIndex::NONE {
            continue;
        }
        if next >= open.len() {
            open.retain(|&member| places[member] > 0);
            next = 0;
        }
        let member = open[next];
        places[member] -= 1;
        owners[partition] = MemberIndex(member as u32);
        next += 1;
    }
    owners
}
