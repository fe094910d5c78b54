//! The names and numbers by which groups know each other's parts. Owns the types; never assigns one. Plain values, any
//! core.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        // Maps keyed by the id are searched with the bytes of a request, without an allocation.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_id! {
    /// What a group is called. A clone shares the text, as with every name here.
    GroupId
}
text_id! {
    /// What a group calls a member: given to it when it first asks (KIP-394), or drawn by itself (KIP-848).
    MemberId
}
text_id! {
    /// What a static member calls itself, the same after a restart (KIP-345).
    InstanceId
}
text_id! {
    /// A topic's name, shared by every group that has committed offsets of it.
    TopicName
}

impl TopicName {
    /// Whether anybody else holds the text.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Counts the rebalances of a group: the generation of a classic group, the epoch of a KIP-848 one. Kafka stores and
/// sends both in one field, and a group that changes its kind goes on counting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub i32);

impl Generation {
    /// What one writes that is in no generation: a consumer that only stores offsets, a reply without one.
    pub const NONE: Generation = Generation(-1);

    /// The one after this. After the last comes the first: only equality is ever asked of a generation by a member.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.checked_add(1).unwrap_or(0).max(0))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
