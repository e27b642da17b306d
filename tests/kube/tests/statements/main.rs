//! What the rules take for granted of an API server, each as one small test against the real one.
//!
//! | of what | module |
//! |---|---|
//! | creating, updating, not raising from the dead (A10, B4) | `apply` |
//! | whose a field is, whose an object is (B1, B2, B4, B6) | `claims` |
//! | what is stored of what was sent (B1, D6) | `fields` |
//! | status, conditions, generations (B7, B15) | `status` |
//! | deletion, preconditions, finalizers (A10, B9, B12) | `deletion` |
//! | lists, pages, views that have fallen behind (A10, A11) | `lists` |
//! | watches, bookmarks, versions (A2, A10) | `watches` |
//! | telling refusals apart (B8, B10) | `refusals` |
//! | what `timeout` bounds (C7, D8) | `timeouts` |
//! | leases (D8) | `leases` |
//! | definitions and rights that come and go (D6, D7) | `definitions` |
//! | events (B16) | `events` |

#![forbid(unsafe_code)]

mod apply;
mod claims;
mod definitions;
mod deletion;
mod events;
mod fields;
mod leases;
mod lists;
mod refusals;
mod status;
mod timeouts;
mod watches;
mod widgets;
