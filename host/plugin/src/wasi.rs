//! What a language's runtime needs of WASI, and nothing more: no files, sockets, environment or
//! arguments. What can make two calls differ is counted or fixed here (rule A7).
//!
//! The interfaces are implemented on the state of the call itself, so that a call that uses none of
//! them pays for none.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use setpoint_core::Key;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Result, bail, format_err};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi_io::IoView;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::digest::Digest;
use crate::output::Output;
use crate::state::State;

/// Bytes of randomness that one question may ask for.
const MAX_RANDOM: u64 = 1 << 20;

/// Links the interfaces of the imports that are let in; see [`crate::imports`].
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    type D = HasSelf<State>;
    let l = linker;
    wasmtime_wasi_io::add_to_linker_async(l)?;
    clocks::wall_clock::add_to_linker::<State, D>(l, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<State, D>(l, |state| state)?;
    random::random::add_to_linker::<State, D>(l, |state| state)?;
    random::insecure::add_to_linker::<State, D>(l, |state| state)?;
    random::insecure_seed::add_to_linker::<State, D>(l, |state| state)?;
    cli::environment::add_to_linker::<State, D>(l, |state| state)?;
    cli::exit::add_to_linker::<State, D>(l, |state| state)?;
    cli::stdin::add_to_linker::<State, D>(l, |state| state)?;
    cli::stdout::add_to_linker::<State, D>(l, |state| state)?;
    cli::stderr::add_to_linker::<State, D>(l, |state| state)?;
    cli::terminal_input::add_to_linker::<State, D>(l, |state| state)?;
    cli::terminal_output::add_to_linker::<State, D>(l, |state| state)?;
    cli::terminal_stdin::add_to_linker::<State, D>(l, |state| state)?;
    cli::terminal_stdout::add_to_linker::<State, D>(l, |state| state)?;
    cli::terminal_stderr::add_to_linker::<State, D>(l, |state| state)?;
    Ok(())
}

/// Clocks and randomness of one call.
pub(crate) struct World {
    started: Instant,
    wall: Option<Duration>,
    seed: Option<Seed>,
    secure: Option<Box<WasiRandomCtx>>,
    /// The wall clock or secure randomness was asked for.
    pub(crate) impure: bool,
}

impl World {
    /// The world of a call that began then.
    pub(crate) fn new(started: Instant) -> Self {
        Self { started, wall: None, seed: None, secure: None, impure: false }
    }

    /// When the call began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The time since 1970. It stands still during a call, and asking makes the call impure.
    fn wall(&mut self) -> Duration {
        self.impure = true;
        *self.wall.get_or_insert_with(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn secure(&mut self) -> &mut WasiRandomCtx {
        self.impure = true;
        self.secure.get_or_insert_default()
    }
}

/// Randomness that is the same for each call of one component for one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seed {
    hash: (u64, u64),
    next: u64,
}

impl Seed {
    pub(crate) fn new(digest: &Digest, key: Option<&Key>) -> Self {
        let mut sha = Sha256::new();
        sha.update(digest.as_str());
        if let Some(key) = key {
            sha.update(key.to_string());
        }
        let bytes = sha.finalize();
        let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        Self { hash: (word(0), word(8)), next: word(16) }
    }

    /// SplitMix64: short, and good enough where nothing depends on quality.
    fn draw(&mut self) -> u64 {
        self.next = self.next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.next;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

impl State {
    fn seed(&mut self) -> &mut Seed {
        let (digest, key): (&Digest, Option<&Arc<Key>>) = (&self.digest, self.key.as_ref());
        self.world.seed.get_or_insert_with(|| Seed::new(digest, key.map(|key| &**key)))
    }

    fn output(&mut self) -> Result<Resource<DynOutputStream>> {
        let keep = self.limits.stderr_tail;
        let output = self.output.get_or_insert_with(|| Output::new(keep)).clone();
        Ok(self.table.push(Box::new(output) as DynOutputStream)?)
    }

    fn sleep(&mut self, until: Option<Instant>) -> Result<Resource<DynPollable>> {
        let sleep = self.table.push(Sleep(until))?;
        subscribe(&mut self.table, sleep)
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

/// Until then; none for a moment that cannot be told.
struct Sleep(Option<Instant>);

#[async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        match self.0 {
            // A plugin that polls in a loop gives way each time.
            Some(until) if until <= Instant::now() => tokio::task::yield_now().await,
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl clocks::wall_clock::Host for State {
    fn now(&mut self) -> Result<clocks::wall_clock::Datetime> {
        let now = self.world.wall();
        Ok(clocks::wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> Result<clocks::wall_clock::Datetime> {
        Ok(clocks::wall_clock::Datetime { seconds: 0, nanoseconds: 1 })
    }
}

impl clocks::monotonic_clock::Host for State {
    fn now(&mut self) -> Result<u64> {
        Ok(self.world.monotonic())
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let until = self.world.started().checked_add(Duration::from_nanos(when));
        self.sleep(until)
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let until = Instant::now().checked_add(Duration::from_nanos(when));
        self.sleep(until)
    }
}

impl random::random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_RANDOM {
            bail!("the plugin asked for {len} random bytes at once, more than {MAX_RANDOM}");
        }
        random::random::Host::get_random_bytes(self.world.secure(), len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        random::random::Host::get_random_u64(self.world.secure())
    }
}

impl random::insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_RANDOM {
            bail!("the plugin asked for {len} random bytes at once, more than {MAX_RANDOM}");
        }
        let seed = self.seed();
        let mut bytes = Vec::with_capacity(len as usize + 8);
        while bytes.len() < len as usize {
            bytes.extend_from_slice(&seed.draw().to_le_bytes());
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.seed().draw())
    }
}

impl random::insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok(self.seed().hash)
    }
}

impl cli::environment::Host for State {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl cli::exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(format_err!("the plugin ended its process with {}", if status.is_ok() { "success" } else { "failure" }))
    }

    fn exit_with_code(&mut self, code: u8) -> Result<()> {
        Err(format_err!("the plugin ended its process with code {code}"))
    }
}

impl cli::stdin::Host for State {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        Ok(self.table.push(Box::new(ClosedInputStream) as DynInputStream)?)
    }
}

impl cli::stdout::Host for State {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        self.output()
    }
}

impl cli::stderr::Host for State {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        self.output()
    }
}

impl cli::terminal_input::Host for State {}

impl cli::terminal_input::HostTerminalInput for State {
    fn drop(&mut self, terminal: Resource<cli::terminal_input::TerminalInput>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_output::Host for State {}

impl cli::terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, terminal: Resource<cli::terminal_output::TerminalOutput>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_stdin::Host for State {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<cli::terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for State {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for State {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_depends_on_the_component_and_the_object_and_on_nothing_else() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let (a, b) = (Key::new("local", "", "A", None, "a"), Key::new("local", "", "A", None, "b"));
        assert_eq!(Seed::new(&one, Some(&a)), Seed::new(&one, Some(&a.clone())));
        assert_ne!(Seed::new(&one, Some(&a)), Seed::new(&one, Some(&b)));
        assert_ne!(Seed::new(&one, Some(&a)), Seed::new(&two, Some(&a)));
        assert_ne!(Seed::new(&one, None), Seed::new(&one, Some(&a)));
        let (mut x, mut y) = (Seed::new(&one, Some(&a)), Seed::new(&one, Some(&a)));
        let drawn: Vec<u64> = (0..100).map(|_| x.draw()).collect();
        assert_eq!(drawn, (0..100).map(|_| y.draw()).collect::<Vec<_>>());
        let different: std::collections::HashSet<_> = drawn.iter().collect();
        assert_eq!(different.len(), 100);
    }

    #[test]
    fn the_wall_clock_stands_still_and_counts_and_the_other_clock_does_neither() {
        let mut world = World::new(Instant::now());
        let first = world.monotonic();
        std::thread::sleep(Duration::from_millis(2));
        assert!(world.monotonic() >= first + 2_000_000);
        assert!(first < 60_000_000_000, "it starts at 0");
        assert!(!world.impure);
        let wall = world.wall();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(world.wall(), wall);
        assert!(world.impure);
    }

    #[test]
    fn secure_randomness_counts() {
        let mut world = World::new(Instant::now());
        let a = random::random::Host::get_random_bytes(world.secure(), 32).expect("bytes");
        let b = random::random::Host::get_random_bytes(world.secure(), 32).expect("bytes");
        assert_ne!(a, b);
        assert!(world.impure);
    }
}
