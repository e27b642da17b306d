//! CustomResourceDefinitions as an API server treats them: for objects that come from files, from
//! status writes and from children. No I/O.
//!
//! | question | where |
//! |---|---|
//! | is this a definition that can be worked with | [`Crd::parse`] |
//! | may this object be written, and what is stored | [`Crd::admit`], [`validate_metadata`] |
//! | what does an object look like that is read | [`Crd::default_and_prune`] |
//! | would the server keep what a plugin wants | [`Crd::prune_partial`] |
//! | how is a list merged | [`Crd::list_type`] |
//! | does a definition let in what another one did | [`narrowings`] |
//! | where is the mistake | [`FieldError`], [`FieldPath`] |
//!
//! Schemas may be as generators write them; they are made structural first. CEL rules are compiled
//! once per definition.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod convert;
mod crd;
mod definition;
mod error;
mod evaluate;
mod expr;
mod format;
mod hoist;
mod keywords;
mod list;
mod metadata;
mod narrow;
mod path;
mod rule;
mod schema;
mod shape;
mod structural;
mod validate;

pub use crd::{Admission, Column, Crd, Part};
pub use error::{CrdError, FieldError, FieldErrorKind};
pub use metadata::validate_metadata;
pub use narrow::{Narrowing, narrowings};
pub use path::{FieldPath, Segment};
pub use schema::ListType;
