//! One description of the several reconcilers of a component.

use crate::DescribeError;
use crate::bindings::setpoint::reconciler::types::{Description, ReadKind, ReadScope};

/// Joins descriptions. There is at least one.
pub(crate) fn merge(descriptions: Vec<Description>) -> Result<Description, DescribeError> {
    let mut all = descriptions.into_iter();
    let mut merged = all.next().ok_or(DescribeError::Differ("number: there is none"))?;
    for next in all {
        if next.name != merged.name {
            return Err(DescribeError::Differ("name"));
        }
        if next.version != merged.version {
            return Err(DescribeError::Differ("version"));
        }
        if next.tuning != merged.tuning {
            return Err(DescribeError::Differ("tuning"));
        }
        merged.config_schema = match (merged.config_schema, next.config_schema) {
            (Some(mine), Some(theirs)) if mine != theirs => {
                return Err(DescribeError::Differ("configuration"));
            }
            (mine, theirs) => mine.or(theirs),
        };
        merged.kinds.extend(next.kinds);
        merged.reads.extend(next.reads);
        merged.reads = join_reads(merged.reads)?;
        for kind in next.writes {
            if !merged.writes.contains(&kind) {
                merged.writes.push(kind);
            }
        }
        for capability in next.capabilities {
            if !merged.capabilities.contains(&capability) {
                merged.capabilities.push(capability);
            }
        }
    }
    Ok(merged)
}

/// One entry per kind, which allows what any of them allows.
fn join_reads(reads: Vec<ReadKind>) -> Result<Vec<ReadKind>, DescribeError> {
    let mut joined: Vec<ReadKind> = Vec::new();
    for read in reads {
        let same = joined.iter_mut().find(|j| j.kind.group == read.kind.group && j.kind.kind == read.kind.kind);
        let Some(mine) = same else {
            joined.push(read);
            continue;
        };
        if mine.kind.version != read.kind.version {
            return Err(DescribeError::Differ("the version of a kind that both read"));
        }
        if read.scope == ReadScope::All {
            mine.scope = ReadScope::All;
        }
        // No field means all fields.
        if mine.fields.is_empty() || read.fields.is_empty() {
            mine.fields.clear();
        } else {
            for path in read.fields {
                if !mine.fields.contains(&path) {
                    mine.fields.push(path);
                }
            }
        }
        for index in read.indexes {
            match mine.indexes.iter().find(|i| i.name == index.name) {
                None => mine.indexes.push(index),
                Some(other) if *other == index => {}
                Some(_) => return Err(DescribeError::Differ("an index of one name")),
            }
        }
    }
    Ok(joined)
}
