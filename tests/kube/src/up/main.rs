//! An API server by hand: prints how to reach it and stays until Ctrl-C.

#![forbid(unsafe_code)]

fn main() {}
