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

# The budgets of the design, measured.
bench:
    cargo xtask bench

# The simulation at full size.
soak seeds="20000":
    cargo xtask soak {{seeds}}

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
