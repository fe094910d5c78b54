//! Where a broker listens, as text. Owns the parsing of `host:port` and of bootstrap lists; never resolves a name.

use std::fmt;
use std::sync::Arc;

use crate::error::ClientError;

/// A host, by name or number, and a port. Names are resolved anew at every connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name, IPv4 address or IPv6 address without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// An address from its parts.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    /// Reads `host:port`; an IPv6 address stands in brackets, as in `[::1]:9192`.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] when the text is anything else.
    pub fn parse(text: &str) -> Result<Address, ClientError> {
        let invalid = || ClientError::InvalidConfig {
            field: "bootstrap",
            problem: format!("{text:?} is not host:port, such as 127.0.0.1:9192"),
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(invalid)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(invalid)?,
            None if host.contains(':') => return Err(invalid()),
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Address::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The addresses a client starts from: a `Vec`, array or slice of them, or one text with commas between them.
#[derive(Debug, Clone)]
pub struct Bootstrap(Vec<String>);

impl Bootstrap {
    pub(crate) fn parse(self) -> Result<Vec<Address>, ClientError> {
        let parts = self.0.iter().flat_map(|text| text.split(',')).map(str::trim);
        let addresses: Vec<Address> =
            parts.filter(|text| !text.is_empty()).map(Address::parse).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            let problem = "no address given".to_owned();
            return Err(ClientError::InvalidConfig { field: "bootstrap", problem });
        }
        Ok(addresses)
    }
}

impl From<&str> for Bootstrap {
    fn from(text: &str) -> Self {
        Bootstrap(vec![text.to_owned()])
    }
}

impl From<String> for Bootstrap {
    fn from(text: String) -> Self {
        Bootstrap(vec![text])
    }
}

impl From<&String> for Bootstrap {
    fn from(text: &String) -> Self {
        Bootstrap(vec![text.clone()])
    }
}

impl From<Vec<String>> for Bootstrap {
    fn from(list: Vec<String>) -> Self {
        Bootstrap(list)
    }
}

impl From<&[String]> for Bootstrap {
    fn from(list: &[String]) -> Self {
        Bootstrap(list.to_vec())
    }
}

impl<const N: usize> From<[&str; N]> for Bootstrap {
    fn from(list: [&str; N]) -> Self {
        Bootstrap(list.map(str::to_owned).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["127.0.0.1:9192", "broker.example:1", "[::1]:9192"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "host", "host:", ":1", "host:0", "host:65536", "::1:9192", "[::1:9192"] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bootstrap_list_may_have_commas_and_must_not_be_empty() {
        let parsed = Bootstrap::from("a:1, b:2,").parse().unwrap();
        assert_eq!(parsed, [Address::new("a", 1), Address::new("b", 2)]);
        assert!(Bootstrap::from(" , ").parse().is_err());
        assert!(Bootstrap::from(Vec::new()).parse().is_err());
    }
}
