use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

use crate::Error;

/// A port of 127.0.0.1 that nobody else gets until this is dropped.
///
/// It refuses connections, as a server that is down does. [`EchoBackend::start_on`](crate::EchoBackend::start_on), or
/// another program that sets `SO_REUSEADDR` as Envoy does, can listen on it meanwhile, any number of times.
#[derive(Debug)]
pub struct ReservedPort {
    /// Bound and never listening.
    _socket: OwnedFd,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a port that the kernel chooses.
    pub fn new() -> Result<Self, Error> {
        reserve().map_err(|error| Error::io("reserve a port of 127.0.0.1")(error.into()))
    }

    /// 127.0.0.1 and the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn reserve() -> rustix::io::Result<ReservedPort> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // With it on both sides, the kernel lets a listener bind beside a socket that does not listen.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok(ReservedPort { _socket: socket, address })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::EchoBackend;

    #[test]
    fn a_server_comes_and_goes_on_it() {
        let port = ReservedPort::new().unwrap();
        for _ in 0..3 {
            assert!(TcpStream::connect(port.address()).is_err(), "somebody listens");
            let server = EchoBackend::start_on(port.address().port()).unwrap();
            TcpStream::connect(server.address()).unwrap();
        }
    }

    #[test]
    fn nobody_else_is_given_it() {
        let port = ReservedPort::new().unwrap();
        let others: Vec<_> = (0..2_000).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
        let given = others.iter().flatten().filter_map(|other| other.local_addr().ok());
        assert_eq!(given.filter(|given| *given == port.address()).count(), 0);
    }
}
