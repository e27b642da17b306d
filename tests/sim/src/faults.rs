//! What may go wrong, and how long things take.

use setpoint_core::delay::Rng;

/// Bounds of a delay in milliseconds, both included.
pub type Span = (u64, u64);

/// How the network and the plugins behave. Shares are per mille.
#[derive(Clone, Debug)]
pub struct Faults {
    /// From the engine's asking to the server's doing.
    pub request: Span,
    /// From the server's doing to the engine's knowing.
    pub response: Span,
    /// From the server's doing to the watch's showing, per object.
    pub watch: Span,
    /// Each read of a call, and the rest of it.
    pub call: Span,
    /// How long a host that died is down.
    pub down: Span,
    /// Operations that are refused and not done.
    pub refused: u64,
    /// Operations that are done and answered as if they might not have been.
    pub lost: u64,
    /// Writes just before which somebody else changes the object.
    pub raced: u64,
    /// Calls that trap at their end.
    pub trapped: u64,
}

impl Faults {
    /// All is well and takes no time.
    pub fn none() -> Self {
        let now = (0, 0);
        Self {
            request: now,
            response: now,
            watch: now,
            call: now,
            down: now,
            refused: 0,
            lost: 0,
            raced: 0,
            trapped: 0,
        }
    }

    /// All is well and takes some time.
    pub fn calm() -> Self {
        Self { request: (1, 20), response: (1, 20), watch: (0, 60), call: (1, 30), down: (100, 2_000), ..Self::none() }
    }

    /// A network that a seed draws.
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut faults = match rng.between(0, 3) {
            0 => Self::none(),
            1 => Self::calm(),
            2 => Self {
                request: (0, 400),
                response: (0, 2_000),
                watch: (0, 3_000),
                call: (0, 1_500),
                down: (0, 8_000),
                ..Self::none()
            },
            _ => Self {
                request: (0, 50),
                response: (0, 8_000),
                watch: (0, 200),
                call: (0, 12_000),
                down: (0, 60_000),
                ..Self::none()
            },
        };
        if rng.between(0, 3) > 0 {
            faults.refused = rng.between(0, 80);
            faults.lost = rng.between(0, 80);
            faults.raced = rng.between(0, 80);
            faults.trapped = rng.between(0, 60);
        }
        faults
    }
}

/// A delay within a span.
pub fn within(rng: &mut Rng, span: Span) -> u64 {
    rng.between(span.0, span.1)
}

/// Whether something of so many per mille happens.
pub fn happens(rng: &mut Rng, per_mille: u64) -> bool {
    per_mille > 0 && rng.between(0, 999) < per_mille
}
