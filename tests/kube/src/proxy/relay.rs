//! What can happen to connections: cut, refused, slow, or silent while bytes are in flight.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::background;

/// A port of 127.0.0.1 whose connections go on to another one, until told otherwise. It knows nothing of what is
/// said, so that it stands before etcd as well as before an API server. Dropped, it cuts all.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    weather: watch::Sender<Weather>,
    open: Arc<Mutex<JoinSet<()>>>,
    listener: AbortHandle,
}

#[derive(Clone, Copy, Default, Debug)]
struct Weather {
    refusing: bool,
    silent: bool,
    delay: Duration,
}

impl Relay {
    /// One before a port of 127.0.0.1.
    ///
    /// # Panics
    /// No port is free.
    pub fn to(port: u16) -> Self {
        let bound = background::wait(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let (listener, own) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address.port())))
            .unwrap_or_else(|error| panic!("a relay cannot listen on 127.0.0.1: {error}"));
        let (weather, seen) = watch::channel(Weather::default());
        let open = Arc::new(Mutex::new(JoinSet::new()));
        let accepting = accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), seen, open.clone());
        let listener = background::handle().spawn(accepting).abort_handle();
        Self { port: own, weather, open, listener }
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection there is. New ones are taken.
    pub fn cut(&self) {
        lock(&self.open).abort_all();
    }

    /// Resets every connection, and each new one at once, until [`accept`](Self::accept): a server that is down.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| weather.refusing = true);
        self.cut();
    }

    /// Takes connections again.
    pub fn accept(&self) {
        self.weather.send_modify(|weather| weather.refusing = false);
    }

    /// Nothing arrives any more, in neither direction, though no connection ends. What is sent meanwhile arrives
    /// after [`speak`](Self::speak), as after a network that was parted.
    pub fn silence(&self) {
        self.weather.send_modify(|weather| weather.silent = true);
    }

    /// Ends a [silence](Self::silence).
    pub fn speak(&self) {
        self.weather.send_modify(|weather| weather.silent = false);
    }

    /// Every piece of what is said arrives so much later, in both directions. Zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let mut open = lock(&self.open);
        while open.try_join_next().is_some() {}
        open.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    weather: watch::Receiver<Weather>,
    open: Arc<Mutex<JoinSet<()>>>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Such as too many open files: it passes, or the test ends.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Whoever ends it, and however: the other side hears of it at once, as a reset.
        let _ = client.set_zero_linger();
        if weather.borrow().refusing {
            continue;
        }
        let weather = weather.clone();
        let mut open = lock(&open);
        while open.try_join_next().is_some() {}
        open.spawn(async move {
            // A connection that breaks is what this is for.
            let _ = carry(client, to, weather).await;
        });
    }
}

async fn carry(client: TcpStream, to: SocketAddr, mut weather: watch::Receiver<Weather>) -> io::Result<()> {
    heard(&mut weather).await;
    let server = TcpStream::connect(to).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    server.set_zero_linger()?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pump(from_client, to_server, weather.clone());
    let back = pump(from_server, to_client, weather);
    tokio::try_join!(there, back).map(drop)
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        heard(&mut weather).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Waits until what was sent may arrive.
async fn heard(weather: &mut watch::Receiver<Weather>) {
    let delay = weather.borrow_and_update().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    // Without the relay there is nobody to wait for; its connections are cut.
    let _ = weather.wait_for(|weather| !weather.silent).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    /// A server that says everything twice, and a relay before it.
    fn echo() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut reader, mut writer) = (stream.try_clone().expect("it can be"), stream);
                    let _ = std::io::copy(&mut reader, &mut writer);
                });
            }
        });
        Relay::to(port)
    }

    fn connect(relay: &Relay) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", relay.port())).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("it can be set");
        stream
    }

    fn said(stream: &mut TcpStream, word: &[u8]) -> io::Result<()> {
        stream.write_all(word)?;
        heard_back(stream, word)
    }

    fn heard_back(stream: &mut TcpStream, word: &[u8]) -> io::Result<()> {
        let mut answer = vec![0; word.len()];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, word);
        Ok(())
    }

    #[test]
    fn what_is_said_arrives_and_a_cut_resets_what_is_open_only() {
        let relay = echo();
        let mut stream = connect(&relay);
        said(&mut stream, b"hello").expect("it arrives");
        assert_eq!(relay.connections(), 1);
        relay.cut();
        assert!(said(&mut stream, b"hello").is_err());
        said(&mut connect(&relay), b"hello").expect("it arrives");
    }

    #[test]
    fn a_relay_that_refuses_lets_nobody_through_until_it_accepts() {
        let relay = echo();
        relay.refuse();
        assert!(said(&mut connect(&relay), b"hello").is_err());
        relay.accept();
        said(&mut connect(&relay), b"hello").expect("it arrives");
    }

    #[test]
    fn what_is_said_in_silence_arrives_afterwards() {
        let relay = echo();
        let mut stream = connect(&relay);
        said(&mut stream, b"hello").expect("it arrives");
        relay.silence();
        let unheard = said(&mut stream, b"later").expect_err("nothing arrives");
        assert!(matches!(unheard.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{unheard}");
        relay.speak();
        heard_back(&mut stream, b"later").expect("it arrives");
    }

    #[test]
    fn a_delay_is_on_the_way_there_and_on_the_way_back() {
        let relay = echo();
        let mut stream = connect(&relay);
        said(&mut stream, b"hello").expect("it arrives");
        relay.delay(Duration::from_millis(60));
        let began = Instant::now();
        said(&mut stream, b"hello").expect("it arrives");
        assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    }
}
