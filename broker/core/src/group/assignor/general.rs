//! Members read different topics: as even as that allows, and nothing moves that need not. Owns the moves that even out. Pure.
//!
//! Partitions stay where they were if their owner still reads them; those without an owner go to the reader with the fewest, topics
//! with few readers first. Then, topic by topic, the reader with the most gives to the one with the fewest while that helps; and
//! last, what no single move can help is helped by chains of moves (A gives to B, B gives something else to C), found by a search
//! for the shortest one. When no chain is left, no other assignment is more even (Harvey et al., "Semi-matchings for bipartite
//! graphs and load balancing", 2003). Every move makes the sum of the squares of the loads smaller, so it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{MemberIndex, Question, TopicIndex};

/// Rounds over the topics in which single moves are looked for, before chains are.
const ROUNDS_MAX: usize = 4;

pub(super) fn assign(question: &Question) -> Vec<MemberIndex> {
    let mut state = State::keep(question);
    let mut order: Vec<TopicIndex> = (0..question.topics.len() as u32).map(TopicIndex).collect();
    order.sort_by_key(|topic| (state.readers[topic.index()].len(), *topic));
    for &topic in &order {
        state.fill(topic);
    }
    for _ in 0..ROUNDS_MAX {
        let moved = order.iter().filter(|topic| state.even_out(**topic)).count();
        if moved == 0 {
            break;
        }
    }
    while state.even_out_by_chains() {}
    state.owners()
}

/// Who has what.
struct State<'q> {
    question: &'q Question,
    starts: Vec<usize>,
    readers: Vec<Vec<MemberIndex>>,
    /// Partitions of each topic that nobody has.
    open: Vec<Vec<usize>>,
    /// For each member, the topics of which it has partitions, ascending, and those.
    held: Vec<Vec<(TopicIndex, Vec<usize>)>>,
    /// Partitions of each member.
    load: Vec<usize>,
}

impl<'q> State<'q> {
    /// What members had and still read.
    fn keep(question: &'q Question) -> State<'q> {
        let member_count = question.members.len();
        let mut state = State {
            question,
            starts: question.starts(),
            readers: question.readers(),
            open: vec![Vec::new(); question.topics.len()],
            held: vec![Vec::new(); member_count],
            load: vec![0; member_count],
        };
        for topic in (0..question.topics.len() as u32).map(TopicIndex) {
            // Downwards, so that the first are taken first from the end of the list.
            for partition in (state.starts[topic.index()]..state.starts[topic.index() + 1]).rev() {
                let owner = question.previous[partition];
                let reads = |topics: &std::sync::Arc<[TopicIndex]>| topics.binary_search(&topic).is_ok();
                if question.members.get(owner.index()).is_some_and(reads) {
                    state.give(owner, topic, partition);
                } else {
                    state.open[topic.index()].push(partition);
                }
            }
        }
        state
    }

    fn give(&mut self, member: MemberIndex, topic: TopicIndex, partition: usize) {
        let held = &mut self.held[member.index()];
        match held.binary_search_by_key(&topic, |(topic, _)| *topic) {
            Ok(at) => held[at].1.push(partition),
            Err(at) => held.insert(at, (topic, vec![partition])),
        }
        self.load[member.index()] += 1;
    }

    /// One partition of the topic, the one that the member has had for the shortest time here.
    fn take(&mut self, member: MemberIndex, topic: TopicIndex) -> usize {
        let held = &mut self.held[member.index()];
        let at = held.binary_search_by_key(&topic, |(topic, _)| *topic).expect("it has partitions of the topic");
        let partition = held[at].1.pop().expect("topics without partitions are not kept");
        if held[at].1.is_empty() {
            held.remove(at);
        }
        self.load[member.index()] -= 1;
        partition
    }

    fn holds(&self, member: MemberIndex, topic: TopicIndex) -> bool {
        self.held[member.index()].binary_search_by_key(&topic, |(topic, _)| *topic).is_ok()
    }

    /// Gives what nobody has to the readers with the fewest.
    fn fill(&mut self, topic: TopicIndex) {
        let open = std::mem::take(&mut self.open[topic.index()]);
        if open.is_empty() || self.readers[topic.index()].is_empty() {
            return;
        }
        let readers = self.readers[topic.index()].iter();
        let mut fewest: BinaryHeap<_> = readers.map(|&member| Reverse((self.load[member.index()], member))).collect();
        for partition in open.into_iter().rev() {
            let Some(mut least) = fewest.peek_mut() else { return };
            let Reverse((load, member)) = *least;
            *least = Reverse((load + 1, member));
            drop(least);
            self.give(member, topic, partition);
        }
    }

    /// While a reader of the topic that has some of it has two partitions more than another reader, it gives one. Returns
    /// whether any was given.
    fn even_out(&mut self, topic: TopicIndex) -> bool {
        let (mut most, mut fewest) = (BinaryHeap::new(), BinaryHeap::new());
        for &member in &self.readers[topic.index()] {
            fewest.push(Reverse((self.load[member.index()], member)));
            if self.holds(member, topic) {
                most.push((self.load[member.index()], Reverse(member)));
            }
        }
        let mut moved = false;
        while let (Some(&(high, Reverse(from))), Some(&Reverse((low, to)))) = (most.peek(), fewest.peek()) {
            // What stands in the heaps may be of before a move.
            if high != self.load[from.index()] || !self.holds(from, topic) {
                most.pop();
                if self.holds(from, topic) {
                    most.push((self.load[from.index()], Reverse(from)));
                }
                continue;
            }
            if low != self.load[to.index()] {
                fewest.pop();
                fewest.push(Reverse((self.load[to.index()], to)));
                continue;
            }
            if high < low + 2 {
                break;
            }
            let partition = self.take(from, topic);
            self.give(to, topic, partition);
            moved = true;
        }
        moved
    }

    /// One round over all members, those with the most first. Returns whether any chain was found.
    fn even_out_by_chains(&mut self) -> bool {
        let mut order: Vec<MemberIndex> = (0..self.load.len() as u32).map(MemberIndex).collect();
        order.sort_by_key(|member| (Reverse(self.load[member.index()]), *member));
        let mut settled = vec![false; order.len()];
        let mut search = Search::new(order.len(), self.question.topics.len());
        let mut moved = false;
        for member in order {
            while !settled[member.index()] {
                match search.run(self, member) {
                    Some(end) => {
                        self.shift(&search, member, end);
                        moved = true;
                    }
                    // Nobody that was reached has two less than this one, so nobody that was reached and has no more than
                    // this one can be helped either: whom it reaches was reached too.
                    None => {
                        let load = self.load[member.index()];
                        let helpless = search.reached.iter().filter(|other| self.load[other.index()] <= load);
                        helpless.for_each(|other| settled[other.index()] = true);
                    }
                }
            }
        }
        moved
    }

    /// Moves one partition over each link of the chain that ends at `end`.
    fn shift(&mut self, search: &Search, start: MemberIndex, end: MemberIndex) {
        let mut to = end;
        while to != start {
            let (from, topic) = search.came_from[to.index()].expect("the chain goes back to where it starts");
            let partition = self.take(from, topic);
            self.give(to, topic, partition);
            to = from;
        }
    }

    fn owners(self) -> Vec<MemberIndex> {
        let mut owners = vec![MemberIndex::NONE; self.question.partition_count()];
        for (member, held) in (0..).map(MemberIndex).zip(&self.held) {
            for &partition in held.iter().flat_map(|(_, partitions)| partitions) {
                owners[partition] = member;
            }
        }
        owners
    }
}

/// A search in breadth for the member with the fewest partitions, at the nearest distance at which there is one that has two less
/// than the start.
struct Search {
    /// From whom, and by a partition of which topic, each member was reached.
    came_from: Vec<Option<(MemberIndex, TopicIndex)>>,
    reached: Vec<MemberIndex>,
    topic_done: Vec<bool>,
}

impl Search {
    fn new(member_count: usize, topic_count: usize) -> Search {
        Search { came_from: vec![None; member_count], reached: Vec::new(), topic_done: vec![false; topic_count] }
    }

    fn run(&mut self, state: &State<'_>, start: MemberIndex) -> Option<MemberIndex> {
        self.reached.drain(..).for_each(|member| self.came_from[member.index()] = None);
        self.topic_done.fill(false);
        self.reached.push(start);
        self.came_from[start.index()] = Some((start, TopicIndex(0)));
        let mut layer = 0;
        while layer < self.reached.len() {
            let end = self.reached.len();
            for at in layer..end {
                let from = self.reached[at];
                for &(topic, _) in &state.held[from.index()] {
                    if std::mem::replace(&mut self.topic_done[topic.index()], true) {
                        continue;
                    }
                    for &to in &state.readers[topic.index()] {
                        if self.came_from[to.index()].is_none() {
                            self.came_from[to.index()] = Some((from, topic));
                            self.reached.push(to);
                        }
                    }
                }
            }
            let news = self.reached[end..].iter().copied();
            let fewest = news.min_by_key(|member| (state.load[member.index()], *member));
            if let Some(found) = fewest.filter(|m| state.load[m.index()] + 2 <= state.load[start.index()]) {
                return Some(found);
            }
            layer = end;
        }
        None
    }
}
