//! A disk in memory that fails when it is told to, and that can lose power.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, StorageBackend};

/// What goes wrong, and with which operation from now on, the first being 0. Operations are
/// writes, changes of the length and syncs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// This operation and all after it fail.
    From(u64, io::ErrorKind),
    /// This operation alone fails.
    Once(u64, io::ErrorKind),
    /// The power goes before this operation.
    Power(u64),
}

enum Unsynced {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Unsynced {
    fn reach(&self, image: &mut Vec<u8>) {
        match self {
            Unsynced::Len(len) => image.resize(*len, 0),
            Unsynced::Write(offset, data) => {
                if image.len() < offset + data.len() {
                    image.resize(offset + data.len(), 0);
                }
                image[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }
}

#[derive(Default)]
struct State {
    current: Vec<u8>,
    /// What is certainly there after the power has gone.
    synced: Vec<u8>,
    /// What may be there, in part and in any order.
    unsynced: Vec<Unsynced>,
    operations: u64,
    fault: Option<Fault>,
    off: bool,
}

#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    pub(super) fn open(&self) -> Database {
        redb::Builder::new().create_with_backend(self.clone()).expect("the disk holds a database or nothing")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no operation panics")
    }

    /// Operations are counted anew from here.
    pub(super) fn arm(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.operations = 0;
        state.fault = fault;
    }

    /// Operations since [`Disk::arm`].
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// A working disk with everything that was written.
    pub(super) fn mended(&self) -> Disk {
        let image = self.lock().current.clone();
        Self::with(image)
    }

    /// A working disk with what a loss of power leaves: what was synced, and of the rest what the
    /// bits of `luck` say.
    pub(super) fn after_power_loss(&self, luck: u64) -> Disk {
        let state = self.lock();
        let mut image = state.synced.clone();
        for (number, write) in state.unsynced.iter().enumerate() {
            if (luck >> (number % 64)) & 1 == 1 {
                write.reach(&mut image);
            }
        }
        Self::with(image)
    }

    fn with(image: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State { current: image.clone(), synced: image, ..State::default() })))
    }

    /// One operation more, unless it fails.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let number = state.operations;
        state.operations += 1;
        if let Some(Fault::Power(at)) = state.fault
            && number >= at
        {
            state.off = true;
        }
        if state.off {
            return Err(io::Error::other("the power is off"));
        }
        match state.fault {
            Some(Fault::From(at, kind)) if number >= at => Err(kind.into()),
            Some(Fault::Once(at, kind)) if number == at => Err(kind.into()),
            _ => Ok(state),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if state.off {
            return Err(io::Error::other("the power is off"));
        }
        let offset = offset as usize;
        let Some(there) = state.current.get(offset..offset + out.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.step()?;
        let change = Unsynced::Len(len as usize);
        change.reach(&mut state.current);
        state.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.step()?;
        let writes = std::mem::take(&mut state.unsynced);
        for write in writes {
            write.reach(&mut state.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.step()?;
        let change = Unsynced::Write(offset as usize, data.to_vec());
        change.reach(&mut state.current);
        state.unsynced.push(change);
        Ok(())
    }
}
