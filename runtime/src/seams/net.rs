//! Where connections come from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A network.
pub trait Net: Clone + 'static {
    /// A connection: bytes in, bytes out.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A place where connections arrive.
    type Listener: Listener<Stream = Self::Stream>;

    /// Begins to listen.
    fn listen(&self, at: SocketAddr, backlog: u32) -> io::Result<Self::Listener>;

    /// Opens a connection to `host`.
    fn connect(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A place where connections arrive.
pub trait Listener: 'static {
    /// A connection.
    type Stream;

    /// Where it listens, with the port that was given for port 0.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Waits for the next connection. Nothing is lost when the future is dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
}

/// TCP of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn listen(&self, at: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A broker restarted at once must get its port back.
        socket.set_reuseaddr(true)?;
        // Packets are gathered per round already; waiting for more would only add delay.
        socket.set_nodelay(true)?;
        socket.bind(at)?;
        socket.listen(backlog)
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Linux gives a connection what its listener has.
        #[cfg(not(target_os = "linux"))]
        stream.set_nodelay(true)?;
        // On a socket for IPv6 and IPv4 alike, IPv4 comes dressed as IPv6.
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_waits_for_more_to_be_sent() {
        let mut listener = TcpNet.listen(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
        let port = Listener::local_addr(&listener).expect("it listens").port();
        let client = TcpNet.connect("127.0.0.1", port).await.expect("it listens");
        let (accepted, _) = Listener::accept(&mut listener).await.expect("a connection");
        assert!(client.nodelay().expect("a socket") && accepted.nodelay().expect("a socket"));
    }

    #[tokio::test]
    async fn a_peer_is_called_what_it_is_on_a_socket_for_both() {
        let any = SocketAddr::from(([0_u16; 8], 0));
        // A machine without IPv6 has no such sockets.
        let Ok(mut listener) = TcpNet.listen(any, 1) else { return };
        let port = TcpListener::local_addr(&listener).expect("it listens").port();
        let _client = TcpNet.connect("127.0.0.1", port).await.expect("it listens");
        let (_, peer) = Listener::accept(&mut listener).await.expect("a connection");
        assert_eq!(peer.ip().to_string(), "127.0.0.1");
    }
}
