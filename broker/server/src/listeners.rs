//! The addresses a broker listens on: bound by us, early, on the thread that starts the broker, so that a port in use
//! costs no recovery. Every shard accepts on the public port (SO_REUSEPORT) and on a port of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::BrokerConfig;
use crate::error::StartError;
use crate::limits::{
    KEEPALIVE_EVERY_S, KEEPALIVE_PROBES, KEEPALIVE_S, LISTEN_BACKLOG, PORT_RETRY_MS, PORT_WAIT_MS_MAX,
    UNACKNOWLEDGED_MS_MAX,
};

/// Where the broker really listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Public address of the native protocol.
    pub native: SocketAddr,
    /// The address of each shard, by index.
    pub shards: Vec<SocketAddr>,
    /// Public address of the Kafka protocol.
    pub kafka: Option<SocketAddr>,
    /// Address of the admin HTTP server.
    pub admin: Option<SocketAddr>,
}

/// The listeners of one shard.
#[derive(Debug)]
pub(crate) struct ShardListeners {
    pub(crate) public: TcpListener,
    pub(crate) own: TcpListener,
    /// Kafka's, one for each family of addresses.
    pub(crate) kafka: Vec<TcpListener>,
}

/// What was bound.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) addresses: Addresses,
    pub(crate) shards: Vec<ShardListeners>,
    /// The admin server's.
    pub(crate) admin: Option<TcpListener>,
}

/// Binds everything, or says what is in the way. The ring of a process that was killed lets go of its sockets a moment after the process
/// is gone: whoever starts the broker again at once need not know that.
pub(crate) fn bind(config: &BrokerConfig) -> Result<Bound, StartError> {
    let deadline = Instant::now() + Duration::from_millis(PORT_WAIT_MS_MAX);
    loop {
        let has_time = Instant::now() < deadline;
        match try_bind(config, has_time) {
            Err(StartError::PortInUse { .. }) if has_time => std::thread::sleep(Duration::from_millis(PORT_RETRY_MS)),
            outcome => return outcome,
        }
    }
}

/// `wants_both`: the other family's loopback address has to be free as well.
fn try_bind(config: &BrokerConfig, wants_both: bool) -> Result<Bound, StartError> {
    let wanted = config.native;
    let (native, public) = shared("native", wanted, config.shards)?;
    let mut kafka = None;
    let mut kafka_listeners: Vec<Vec<TcpListener>> = (0..config.shards).map(|_| Vec::new()).collect();
    if let Some(wanted) = config.kafka {
        let (address, listeners) = shared("Kafka", wanted, config.shards)?;
        kafka = Some(address);
        // Clients that are told `localhost` try either family, and give up at once where nobody listens on it.
        let other = match other_loopback(address).map(|other| shared("Kafka", other, config.shards)) {
            Some(Err(error @ StartError::PortInUse { .. })) if wants_both => return Err(error),
            other => other.and_then(Result::ok),
        };
        for listeners in [listeners].into_iter().chain(other.map(|(_, listeners)| listeners)) {
            kafka_listeners.iter_mut().zip(listeners).for_each(|(of_shard, listener)| of_shard.push(listener));
        }
    }
    let mut kafka_listeners = kafka_listeners.into_iter();
    let mut shards = Vec::with_capacity(public.len());
    let mut listeners = Vec::with_capacity(public.len());
    for (shard, public) in (0u16..).zip(public) {
        let what = format!("shard {shard}'s");
        let port = if wanted.port() == 0 { 0 } else { wanted.port() + 1 + shard };
        let address = SocketAddr::new(wanted.ip(), port);
        let own = listen(&what, address, false)?;
        shards.push(local(&what, &own, address)?);
        let kafka = kafka_listeners.next().unwrap_or_default();
        listeners.push(ShardListeners { public, own, kafka });
    }
    let admin =
        config.admin.map(|wanted| listen("admin", wanted, false).map(|listener| (listener, wanted))).transpose()?;
    let (admin, address) = match admin {
        Some((listener, wanted)) => {
            let address = local("admin", &listener, wanted)?;
            (Some(listener), Some(address))
        }
        None => (None, None),
    };
    Ok(Bound { addresses: Addresses { native, shards, kafka, admin: address }, shards: listeners, admin })
}

/// The loopback address of the other family, on the same port.
fn other_loopback(address: SocketAddr) -> Option<SocketAddr> {
    let other = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return None,
    };
    Some(SocketAddr::new(other, address.port()))
}

/// One listener a shard on the same port, and the address with its real port.
fn shared(what: &str, wanted: SocketAddr, shards: u16) -> Result<(SocketAddr, Vec<TcpListener>), StartError> {
    // SO_REUSEPORT lets any process of ours join a port: an exclusive bind first finds out whether someone is there.
    if wanted.port() != 0 {
        drop(listen(what, wanted, false)?);
    }
    let mut address = wanted;
    let mut listeners = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        let listener = listen(what, address, true)?;
        address = local(what, &listener, address)?;
        listeners.push(listener);
    }
    Ok((address, listeners))
}

fn local(what: &str, listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Bind { what: what.to_owned(), address, source })
}

fn listen(what: &str, address: SocketAddr, reuse_port: bool) -> Result<TcpListener, StartError> {
    try_listen(address, reuse_port).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { what: what.to_owned(), address },
        _ => StartError::Bind { what: what.to_owned(), address, source },
    })
}

fn try_listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted sockets inherit it; replies are coalesced by the writer, so waiting for more only adds latency.
    socket.set_tcp_nodelay(true)?;
    // Inherited as well: a host that went away without a word is found out, whether we send to it or not.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(KEEPALIVE_S))
        .with_interval(Duration::from_secs(KEEPALIVE_EVERY_S))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_millis(UNACKNOWLEDGED_MS_MAX)))?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(port: u16) -> BrokerConfig {
        BrokerConfig { shards: 3, native: SocketAddr::from(([127, 0, 0, 1], port)), ..BrokerConfig::new("unused") }
    }

    #[test]
    fn a_port_that_is_let_go_of_soon_is_waited_for() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let wanted = held.local_addr().expect("its address");
        let kafka = BrokerConfig { kafka: Some(wanted), ..config(0) };
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2 * PORT_RETRY_MS));
            drop(held);
        });
        let bound = bind(&kafka).expect("it is free before patience ends");
        holder.join().expect("it let go");
        assert_eq!(bound.addresses.kafka, Some(wanted));
    }

    #[test]
    fn port_zero_gives_one_public_port_and_one_port_a_shard() {
        let Bound { addresses, shards: listeners, .. } = bind(&config(0)).expect("ephemeral ports are free");
        assert_eq!((addresses.shards.len(), listeners.len()), (3, 3));
        for (listeners, own) in listeners.iter().zip(&addresses.shards) {
            assert_eq!(listeners.public.local_addr().expect("bound"), addresses.native);
            assert_eq!(listeners.own.local_addr().expect("bound"), *own);
            assert_ne!(own.port(), 0);
        }
    }

    #[test]
    fn a_public_port_that_another_broker_shares_is_in_use_all_the_same() {
        let bound = bind(&config(0)).expect("ephemeral ports are free");
        let refusal = bind(&config(bound.addresses.native.port())).expect_err("the port is taken");
        assert!(matches!(refusal, StartError::PortInUse { .. }), "{refusal}");
        let admin = Some(bound.addresses.native);
        let refusal = bind(&BrokerConfig { admin, ..config(0) }).expect_err("the port is taken");
        assert!(refusal.to_string().starts_with("admin address"), "{refusal}");
    }
}
