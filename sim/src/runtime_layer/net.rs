//! The broker's network: `turmoil`'s, behind streams that are never kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use signalhouse::seams::{Listener, Net};
use turmoil::net::{TcpListener, TcpStream};

use super::link::{End, Link};
use super::stream::{Stream, Weather};

/// All connections there are, by the client's address.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: RefCell<BTreeMap<SocketAddr, Rc<Link>>>,
}

impl Links {
    /// A connection as its first end comes to know of it.
    pub(super) fn open(&self, client: SocketAddr) -> Rc<Link> {
        let link = Rc::new(Link::default());
        self.links.borrow_mut().insert(client, Rc::clone(&link));
        link
    }

    /// A connection that the other end has already.
    pub(super) fn take(&self, client: SocketAddr) -> Option<Rc<Link>> {
        self.links.borrow_mut().remove(&client)
    }
}

/// The simulated network, as the broker's host has it.
#[derive(Clone, Debug)]
pub struct SimNet {
    links: Rc<Links>,
    weather: Rc<Weather>,
}

impl SimNet {
    pub(super) fn new(links: Rc<Links>, weather: Rc<Weather>) -> Self {
        SimNet { links, weather }
    }
}

impl Net for SimNet {
    type Stream = Stream;
    type Listener = SimListener;

    fn listen(&self, at: SocketAddr, _backlog: u32) -> io::Result<SimListener> {
        // Binding has nothing to wait for.
        let bound = poll_once(TcpListener::bind(at));
        let inner = bound.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(SimListener { inner, net: self.clone() })
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        let inner = TcpStream::connect((host, port)).await?;
        let link = Rc::new(Link::default());
        Ok(Stream::new(inner, link, End::Client, Rc::clone(&self.weather)))
    }
}

/// Polls a future once.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// Where the broker's connections arrive.
pub struct SimListener {
    inner: TcpListener,
    net: SimNet,
}

impl Listener for SimListener {
    type Stream = Stream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (inner, peer) = self.inner.accept().await?;
        let SimNet { links, weather } = &self.net;
        weather.stir();
        let stream = Stream::new(inner, links.open(peer), End::Broker, Rc::clone(weather));
        Ok((stream, peer))
    }
}
