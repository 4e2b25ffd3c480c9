//! What the runtime's code stands on here: a disk and a network in memory, and a clock that stands still.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, Pending, Ready, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use signalhouse::seams::{Clock, Disk, DiskFile, Listed, Listener, Net, Spawn};
use signalhouse_core::Time;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A clock that always shows this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped(pub(crate) Time);

impl Clock for Stopped {
    type Sleep = Pending<()>;

    fn now(&self) -> Time {
        self.0
    }

    fn sleep_until(&self, _: Time) -> Pending<()> {
        pending()
    }
}

/// Starts no task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSpawn;

impl Spawn for NoSpawn {
    fn spawn(&self, _: impl Future<Output = ()> + 'static) {}
}

/// Polls a future to its end, as long as it asks to be polled again.
///
/// # Panics
/// If it has no end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    const POLLS: u32 = 1_000_000;
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..POLLS {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut cx) {
            return outcome;
        }
    }
    panic!("a future has no end");
}

type Content = Rc<RefCell<Vec<u8>>>;

/// Files that are durable at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk(Rc<RefCell<BTreeMap<String, Content>>>);

impl MemoryDisk {
    pub(crate) fn put(&self, name: String, content: Vec<u8>) {
        self.0.borrow_mut().insert(name, Rc::new(RefCell::new(content)));
    }

    fn find(&self, name: &str) -> io::Result<Content> {
        self.0.borrow().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        let files = self.0.borrow();
        let listed = files.iter().map(|(name, content)| Listed {
            name: name.clone(),
            bytes: content.borrow().len() as u64,
        });
        ready(Ok(listed.collect()))
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<MemoryFile>> + 'static {
        ready(self.find(name).map(MemoryFile))
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<MemoryFile>> + 'static {
        let is_there = self.0.borrow().contains_key(name);
        ready(if is_there {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            self.put(name.to_owned(), Vec::new());
            self.find(name).map(MemoryFile)
        })
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let found = self.find(from);
        ready(found.map(|content| {
            let mut files = self.0.borrow_mut();
            files.remove(from);
            files.insert(to.to_owned(), content);
        }))
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let found = self.find(name);
        self.0.borrow_mut().remove(name);
        ready(found.map(drop))
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        ready(Ok(()))
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        ready(Ok(1 << 40))
    }
}

/// A file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub(crate) struct MemoryFile(Content);

impl DiskFile for MemoryFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let content = self.0.borrow();
        let from = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let until = content.len().min(from.saturating_add(length));
        ready(Ok(Bytes::copy_from_slice(content.get(from..until).unwrap_or_default())))
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let mut content = self.0.borrow_mut();
        let from = usize::try_from(offset).expect("a file fits into memory");
        let until = from + bytes.len();
        if content.len() < until {
            content.resize(until, 0);
        }
        content[from..until].copy_from_slice(&bytes);
        ready(Ok(bytes.len()))
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        ready(Ok(()))
    }
}

/// What one end of a connection wrote.
pub(crate) type Written = Rc<RefCell<Vec<u8>>>;

/// A connection on which pieces come, one at a time, and everything is taken.
#[derive(Debug)]
pub(crate) struct Script {
    pieces: VecDeque<Bytes>,
    /// Whether the peer closes when all has come.
    ends: bool,
    /// Whether the next piece is there when it is asked for again.
    is_ready: bool,
    pub(crate) written: Written,
}

impl Script {
    /// `ends` says whether the peer closes behind the last piece.
    pub(crate) fn new(pieces: impl IntoIterator<Item = Bytes>, ends: bool) -> Self {
        Script {
            pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(),
            ends,
            is_ready: false,
            written: Written::default(),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(piece) = this.pieces.front_mut() else {
            return if this.ends { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        // Between two pieces there is nothing for a moment.
        this.is_ready = !this.is_ready;
        if this.is_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece.split_to(length));
        if this.pieces.front().is_some_and(Bytes::is_empty) {
            this.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A network with one connection, which is there from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct OneConnection {
    connection: Rc<RefCell<Option<Script>>>,
    /// Where it came in, and where from.
    here: SocketAddr,
    peer: SocketAddr,
}

impl OneConnection {
    pub(crate) fn new(connection: Script) -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let connection = Rc::new(RefCell::new(Some(connection)));
        OneConnection { connection, here: at(18_083), peer: at(40_000) }
    }

    /// The same from another machine.
    pub(crate) fn from_afar(connection: Script) -> Self {
        let at = |last, port| SocketAddr::from(([192, 0, 2, last], port));
        OneConnection { here: at(1, 18_083), peer: at(2, 40_000), ..OneConnection::new(connection) }
    }
}

impl Net for OneConnection {
    type Stream = Script;
    type Listener = OneConnection;

    fn listen(&self, _: SocketAddr, _: u32) -> io::Result<OneConnection> {
        Ok(self.clone())
    }

    fn connect(&self, _: &str, _: u16) -> impl Future<Output = io::Result<Script>> {
        let refused: Ready<io::Result<Script>> =
            ready(Err(io::ErrorKind::ConnectionRefused.into()));
        refused
    }
}

impl Listener for OneConnection {
    type Stream = Script;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.here)
    }

    async fn accept(&mut self) -> io::Result<(Script, SocketAddr)> {
        let connection = self.connection.borrow_mut().take();
        match connection {
            Some(connection) => Ok((connection, self.peer)),
            None => pending().await,
        }
    }
}
