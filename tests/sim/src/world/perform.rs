//! Operations and calls of running attempts.

use serde_json::Value;
use setpoint_core::contract::{Failure, Request};
use setpoint_core::engine::{Answered, CallResult, Held};
use setpoint_core::key::Key;
use setpoint_core::op::{Answer, Op, Refusal};

use super::types::{Event, Fate};
use super::{Done, LastCall, World};
use crate::faults::{happens, within};
use crate::plugin::{Ask, Question, Stop, Told};

impl World {
    pub(super) fn perform(&mut self, id: u64, op: Op, fate: Fate) {
        let Some(run) = self.runs.get(&id) else { return };
        let (owner, uid) = ((**run.attempt.key()).clone(), run.uid.clone());
        let host = self.host;
        let mut answer = Answer::Refused(Refusal::Transient("the server is busy".into()));
        let mut changed = false;
        if fate != Fate::Refused {
            if let Some(target) = op.writes().filter(|_| happens(&mut self.rng, self.faults.raced)).cloned() {
                self.bump(&target);
            }
            // A successor of the same name is not what is deleted: the server says so.
            let meant = |key: &Key, uid: &str| self.server.get(key).is_some_and(|object| *object.uid() == *uid);
            if let (Op::Delete { key, precondition }, Some(run)) = (&op, self.runs.get(&id))
                && meant(key, &precondition.uid)
            {
                // What was begun before the present version started is no part of its first pass.
                let current = self.started.get(&**run.attempt.plugin()).is_some_and(|before| id > *before);
                let of_this = |held: &Held| {
                    let its = || held.children.iter().any(|(of, _)| **of == owner);
                    held.plugin == *run.attempt.plugin() && (held.whole || its())
                };
                let held = current && self.engine.held().iter().any(of_this);
                let due = run.plugin.as_ref().and_then(|plugin| self.still_due(plugin));
                self.guard.deletes(key, &owner, &run.decided, held, due);
            }
            let (done, effects) = self.server.perform(self.now, &op);
            self.say(|| {
                format!("  {owner}: {} {:?} -> {}", op.verb(), op.writes().map(ToString::to_string), short(&done))
            });
            changed = !effects.is_empty();
            self.publish(&effects);
            if fate == Fate::Done {
                answer = done;
            }
        } else {
            self.say(|| format!("  {owner}: {} {:?} is refused", op.verb(), op.writes().map(ToString::to_string)));
        }
        let unknown = matches!(answer, Answer::Refused(Refusal::Transient(_) | Refusal::Unknown(_)));
        match &op {
            Op::Get(key) if !unknown => self.guard.unsure(&owner, uid.as_deref(), key, false),
            op if unknown => {
                if let Some(target) = op.writes() {
                    self.guard.unsure(&owner, uid.as_deref(), target, true);
                }
            }
            _ => {}
        }
        self.done.push(Done { at: self.now, owner, op, changed });
        let at = self.now + within(&mut self.rng, self.faults.response);
        self.later(at, Event::Answer { run: id, host, answer });
    }

    /// One step of a call: the function runs as far as its answers go.
    pub(super) fn call(&mut self, id: u64) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        let Some(mut call) = run.call.take() else { return };
        let host = self.host;
        let at = self.now + within(&mut self.rng, self.faults.call);
        let ask = ask_of(&call.request);
        let object = ask.object.clone();
        let result = (call.plugin.function)(&ask, &mut call.answers);
        let reader = run.attempt.id();
        if let (Err(Stop::Pending), Some(question)) = (&result, call.answers.open.clone()) {
            let wait = self.now < call.since + 1_000;
            let answer = match &question {
                Question::Get(key) => match self.engine.read_get(reader, key, wait) {
                    Answered::Now(answer) => Some(answer.map(Told::Object)),
                    Answered::Syncing(_) => None,
                },
                Question::List(query) => match self.engine.read_list(reader, query, wait) {
                    Answered::Now(answer) => Some(answer.map(Told::Objects)),
                    Answered::Syncing(_) => None,
                },
            };
            let next = if answer.is_some() { at } else { self.now + 100 };
            if let Some(answer) = answer {
                if let (Question::Get(target), Ok(_)) = (&question, &answer) {
                    let seen = self.engine.cache().keys().find(target).and_then(|id| self.engine.cache().view(id));
                    self.guard.tells(&ask.key, target, seen.map(|seen| &**seen));
                }
                call.answers.tell(answer);
            }
            run.call = Some(call);
            self.runs.insert(id, run);
            return self.later(next, Event::Call { host, run: id });
        }
        run.decided.unavailable = call.answers.unavailable();
        self.told.insert(
            ask.key.clone(),
            LastCall { object, answers: call.answers.clone(), digest: run.attempt.digest().clone() },
        );
        let (result, trapped) = match result {
            _ if happens(&mut self.rng, self.faults.trapped) => (Err(Failure::Retry("trap: unlucky".into())), true),
            _ if self.broken.contains(&**run.attempt.digest()) => (Err(Failure::Retry("trap: broken".into())), true),
            Ok(outcome) => (Ok(outcome), false),
            Err(stop) => {
                let (failure, trapped) = failure_of(stop);
                (Err(failure), trapped)
            }
        };
        let impure = call.plugin.impure;
        self.runs.insert(id, run);
        self.later(at, Event::Called { host, run: id, result: CallResult { result, trapped, impure } });
    }
}

/// What a plugin is asked.
pub(super) fn ask_of(request: &Request) -> Ask {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    Ask {
        key: (*request.key).clone(),
        object: parse(&request.object),
        deleting: request.deleting,
        config: parse(&request.config),
    }
}

/// What a call without an outcome comes to, and whether it trapped.
pub(super) fn failure_of(stop: Stop) -> (Failure, bool) {
    match stop {
        Stop::Pending => (Failure::Retry("it waits for nothing".into()), true),
        Stop::Read(error) => (Failure::Retry(error.to_string()), false),
        Stop::Fail(failure) => (failure, false),
        Stop::Trap(text) => (Failure::Retry(format!("trap: {text}")), true),
    }
}

fn short(answer: &Answer) -> String {
    match answer {
        Answer::Found(object) => format!("found {}", object.resource_version()),
        Answer::Applied { object, created } => format!("applied {} {created}", object.resource_version()),
        Answer::Listed(objects) => format!("{} objects", objects.len()),
        other => format!("{other:?}"),
    }
}
