# Every task. Each is a cargo command, so that `just` is a convenience and not a need.

# What there is.
default:
    @just --list

# Set up, build, and show Setpoint at work; on a terminal the host then stays up.
demo:
    cargo xtask demo

# Everything that proves it.
test:
    cargo xtask test

# Formatting, clippy, licences and advisories.
lint:
    cargo xtask lint

# The budgets of the design, measured; such as `just bench --write`, `just bench core plugin`.
bench *args:
    cargo xtask bench {{args}}

# One fuzz target, or each, guided by coverage; such as `just fuzz yaml 600`.
fuzz *args:
    cargo xtask fuzz {{args}}

# Simulation, kills, fuzz targets and an idle hour, at full size or within `--minutes N`; writes docs/soak.md.
soak *args:
    cargo xtask soak {{args}}

# The reference pages of the book; `just docs --check` only compares them.
docs *args:
    cargo xtask docs {{args}}

# A real API server by hand, until Ctrl-C; such as `just kube up --clusters 3`, `just kube assets`.
kube *args:
    cargo xtask kube {{args}}

# The plugins into target/guests.
guests:
    cargo xtask guests

# The host: target/ci/setpoint.
build:
    cargo xtask build

# One test file of the end-to-end tests, such as `just e2e plugins`.
e2e file: guests build
    SETPOINT_BIN=target/ci/setpoint SETPOINT_TEST_GUESTS=target/guests \
        cargo test --workspace --profile ci --test {{file}} -- --nocapture

# Format all that there is.
fmt:
    cargo fmt --all
    cd plugins && cargo fmt --all

# What CI does.
ci:
    .ci/run
