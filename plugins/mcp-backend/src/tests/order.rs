//! What comes of a world does not depend on the order of anything in it, and it comes to rest.

use super::*;

/// A sequence of numbers that look random and are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or(0)
    }

    fn shuffle(&mut self, items: &mut [Value]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Sources of few names, so that some collide, in all conditions.
fn some_world(numbers: &mut Numbers) -> Vec<Value> {
    let mut sources: Vec<Value> = Vec::new();
    for _ in 0..numbers.below(12) {
        let name = ["a", "b", "c", "d"][numbers.below(4)];
        let make = [server, proxy, entry][numbers.below(3)];
        let source = match numbers.below(6) {
            0 => with(make(name), "status", json!({})),
            1 => with(make(name), "status.phase", "Failed".into()),
            2 => with(make(name), "spec.groupRef.name", "h".into()),
            3 => with(make(name), "spec.externalAuthConfigRef", json!({"name": "nowhere"})),
            4 => with(make(name), "metadata.annotations", json!({"z": "1", "a": "2"})),
            _ => make(name),
        };
        // One object has one place.
        let same = |other: &Value| other["kind"] == source["kind"] && other["metadata"]["name"] == name;
        if !sources.iter().any(same) {
            sources.push(source);
        }
    }
    sources
}

fn with_group(sources: &[Value]) -> Vec<Value> {
    std::iter::once(group()).chain(sources.iter().cloned()).collect()
}

/// An object whose fields stand the other way round.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().rev().map(|(key, value)| format!("{}:{}", json!(key), reversed(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[test]
fn the_order_of_sources_and_of_their_fields_does_not_matter() {
    let mut numbers = Numbers(0x5e7_9017);
    let empty = World::new(&[]);
    for round in 0..30 {
        let sources = some_world(&mut numbers);
        let mut world = World { sources: with_group(&sources), ..empty.clone() };
        let run = world.settle();

        let mut shuffled: Vec<Value> = sources.iter().map(|source| reversed(source).parse().unwrap()).collect();
        numbers.shuffle(&mut shuffled);
        let mut other = World { sources: with_group(&shuffled), ..empty.clone() };
        // What is there already comes in another order, too.
        other.backends = world.backends.clone();
        other.backends.reverse();
        let again = other.settle();

        assert_eq!(run.outcome(), again.outcome(), "round {round}: {sources:#?}");
        assert_eq!(world.backends, other.backends, "round {round}");
    }
}

#[test]
fn a_world_comes_to_rest_and_stays_there() {
    let mut numbers = Numbers(0xbac_0e7d);
    let empty = World::new(&[]);
    for round in 0..30 {
        let mut world = World { sources: with_group(&some_world(&mut numbers)), ..empty.clone() };
        for _ in 0..4 {
            let run = world.settle();
            let before = (world.backends.clone(), world.registry.clone());
            let quiet = world.pass();
            assert_eq!(run.outcome(), quiet.outcome(), "round {round}");
            world.look();
            assert_eq!(before, (world.backends.clone(), world.registry.clone()), "round {round}");
            // Every member is there, and nothing else.
            let members = world.sources.iter().filter(|source| source["spec"]["groupRef"]["name"] == "g").count();
            assert_eq!(world.shown().len(), members, "round {round}");
            // Of one id at most one is open.
            let mut open: Vec<String> = world.shown().iter().filter(|line| line.contains(" Open ")).cloned().collect();
            open.iter_mut().for_each(|line| line.truncate(1));
            let count = open.len();
            open.dedup();
            assert_eq!(open.len(), count, "round {round}: {:?}", world.shown());
            // And then something else is there.
            world.sources = with_group(&some_world(&mut numbers));
        }
    }
}
