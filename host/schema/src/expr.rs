//! What can be said about a CEL expression before it runs: whether every name in it means
//! something, and what it may cost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use kube_cel::KubeCelExt;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value as Cel};

use crate::convert;
use crate::schema::{Additional, Schema, Type};

/// Functions that the library has and an API server has not. `lists.range` makes lists of any
/// length out of nothing.
const REFUSED: [&str; 1] = ["lists.range"];
/// Functions whose result can be longer than any list of the object: as long as its strings.
const SPLITTING: [&str; 2] = ["split", "findAll"];

/// All functions, shared by all rules.
pub(crate) static FUNCTIONS: LazyLock<Context<'static>> = LazyLock::new(|| {
    let mut context = Context::default().with_all();
    context.add_function("dyn", as_it_is);
    context
});

/// `dyn(x)`: everything is dynamic here.
fn as_it_is(value: Cel) -> Result<Cel, ExecutionError> {
    Ok(value)
}

/// What a rule reads.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Facts {
    pub(crate) reads_old: bool,
    pub(crate) reads_status: bool,
}

/// Checks that every variable, function and field of an expression on `schema` exists.
pub(crate) fn check(expr: &IdedExpr, schema: &Schema, old_is_optional: bool) -> Result<Facts, String> {
    let mut checker = Checker { schema, old_is_optional, bound: Vec::new(), facts: Facts::default() };
    checker.walk(expr)?;
    Ok(checker.facts)
}

/// The expressions right below one.
fn below(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// How many expressions stand within each other.
pub(crate) fn depth(expr: &IdedExpr) -> usize {
    1 + below(expr).into_iter().map(depth).max().unwrap_or(0)
}

/// Makes optional selection mean what it says. The library fails on `a.?b` where there is no `b`,
/// and takes `a.?b.c` for false; with an optional index it does both right. Answers whether the value
/// is an optional that further selections go through.
pub(crate) fn mend(expr: &mut IdedExpr) -> bool {
    match &mut expr.expr {
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                mend(target);
            }
            let args: Vec<bool> = call.args.iter_mut().map(mend).collect();
            if call.func_name == operators::OPT_SELECT {
                operators::OPT_INDEX.clone_into(&mut call.func_name);
            }
            let through = call.func_name == operators::INDEX && args.first() == Some(&true);
            through || call.func_name == operators::OPT_INDEX
        }
        Expr::Select(select) => {
            let through = mend(&mut select.operand);
            if !through || select.test {
                return false;
            }
            let field = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(select.field.as_str().into())) };
            let operand = std::mem::take(&mut *select.operand);
            expr.expr = Expr::Call(CallExpr {
                func_name: operators::OPT_INDEX.to_owned(),
                target: None,
                args: vec![operand, field],
            });
            true
        }
        Expr::Comprehension(c) => {
            for part in [&mut c.iter_range, &mut c.accu_init, &mut c.loop_cond, &mut c.loop_step, &mut c.result] {
                mend(part);
            }
            false
        }
        Expr::List(list) => {
            list.elements.iter_mut().for_each(|element| {
                mend(element);
            });
            false
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    mend(&mut entry.key);
                    mend(&mut entry.value);
                }
            }
            false
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => false,
    }
}

struct Checker<'a> {
    schema: &'a Schema,
    old_is_optional: bool,
    /// The variables of the macros around, with the schema of what they stand for.
    bound: Vec<(&'a str, Option<&'a Schema>)>,
    facts: Facts,
}

impl<'a> Checker<'a> {
    /// Answers with the schema of the value, as far as it is known.
    fn walk(&mut self, expr: &'a IdedExpr) -> Result<Option<&'a Schema>, String> {
        match &expr.expr {
            Expr::Unspecified => Err("incomplete expression".to_owned()),
            Expr::Literal(_) => Ok(None),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let operand = self.walk(&select.operand)?;
                if select.field == "status" && operand.is_some_and(|operand| std::ptr::eq(operand, self.schema)) {
                    self.facts.reads_status = true;
                }
                operand.map_or(Ok(None), |operand| field(operand, &select.field))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(made) => Err(format!("{}{{…}} makes a message, which is not supported", made.type_name)),
            Expr::List(_) | Expr::Map(_) => {
                for part in below(expr) {
                    self.walk(part)?;
                }
                Ok(None)
            }
        }
    }

    fn variable(&mut self, name: &str) -> Result<Option<&'a Schema>, String> {
        if let Some((_, schema)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return Ok(*schema);
        }
        match name {
            "self" => Ok(Some(self.schema)),
            "oldSelf" => {
                self.facts.reads_old = true;
                Ok(Some(self.schema).filter(|_| !self.old_is_optional))
            }
            _ => Err(format!("undeclared reference to '{name}'")),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Option<&'a Schema>, String> {
        let is_operator = call.func_name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        if !is_operator && !self.is_known_function(call)? {
            return Err(format!("'{}' is no function that rules can call", called(call)));
        }
        let mut types = Vec::new();
        for arg in &call.args {
            types.push(self.walk(arg)?);
        }
        match (call.func_name.as_str(), types.first().copied().flatten()) {
            ("_[_]", Some(list)) if list.kind == Some(Type::Array) => Ok(list.items.as_deref()),
            ("_[_]", Some(map)) => Ok(map.values()),
            _ => Ok(None),
        }
    }

    /// Whether the function exists. Walks what it is called on, unless that is part of its name.
    fn is_known_function(&mut self, call: &'a CallExpr) -> Result<bool, String> {
        if let Some(target) = call.target.as_deref() {
            if let Expr::Ident(prefix) = &target.expr
                && is_function(&format!("{prefix}.{}", call.func_name))
            {
                return Ok(!REFUSED.contains(&called(call).as_str()));
            }
            self.walk(target)?;
        }
        Ok(is_function(&call.func_name))
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Result<Option<&'a Schema>, String> {
        if comprehension.iter_var2.is_some() {
            return Err("macros with two variables are not supported".to_owned());
        }
        let range = self.walk(&comprehension.iter_range)?;
        self.walk(&comprehension.accu_init)?;
        // Over a list go its items; over a map go its keys.
        let item = range.and_then(|range| range.items.as_deref());
        self.bound.push((&comprehension.accu_var, None));
        self.bound.push((&comprehension.iter_var, item));
        self.walk(&comprehension.loop_cond)?;
        self.walk(&comprehension.loop_step)?;
        self.bound.pop();
        self.walk(&comprehension.result)?;
        self.bound.pop();
        Ok(None)
    }
}

/// A field of a value, or why there is none.
fn field<'a>(schema: &'a Schema, name: &str) -> Result<Option<&'a Schema>, String> {
    let declared = schema.properties.iter().find(|(key, _)| convert::escape(key).as_deref() == Some(name));
    if let Some((_, property)) = declared {
        return Ok(Some(property));
    }
    match (&schema.additional, schema.kind) {
        (Additional::Schema(values), _) => Ok(Some(values)),
        (Additional::Any, _) | (_, None) => Ok(None),
        _ if schema.preserve || schema.int_or_string => Ok(None),
        (Additional::None, Some(Type::Object)) => Err(format!("undefined field '{name}'")),
        (Additional::None, Some(kind)) => {
            Err(format!("type '{}' does not support field selection ('{name}')", kind.name()))
        }
    }
}

fn called(call: &CallExpr) -> String {
    match call.target.as_deref().map(|target| &target.expr) {
        Some(Expr::Ident(prefix)) => format!("{prefix}.{}", call.func_name),
        _ => call.func_name.clone(),
    }
}

/// The library does not tell which functions it has, but a call of one that it has not fails as
/// undeclared, whatever the arguments.
fn is_function(name: &str) -> bool {
    let call =
        IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args: Vec::new() }) };
    let tried = catch_unwind(AssertUnwindSafe(|| Cel::resolve(&call, &FUNCTIONS)));
    !matches!(tried, Ok(Err(ExecutionError::UndeclaredReference(_))))
}

/// An upper bound of the steps of an expression, as a polynomial of the length of the longest list
/// that it can meet: one entry per power. Loops over lists that stand in the expression itself
/// count with their own length.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    powers: Vec<u64>,
    /// Whether strings can be taken apart to lists.
    pub(crate) splits: bool,
}

impl Cost {
    pub(crate) fn of(expr: &IdedExpr) -> Self {
        Cost { powers: powers(expr), splits: splits(expr) }
    }

    /// Whether the cost depends on what the expression is evaluated on.
    pub(crate) fn grows(&self) -> bool {
        self.powers.len() > 1
    }

    /// The bound for lists of at most `longest` items.
    pub(crate) fn at(&self, longest: u64) -> u64 {
        self.powers.iter().rev().fold(0_u64, |sum, power| sum.saturating_mul(longest).saturating_add(*power))
    }
}

fn powers(expr: &IdedExpr) -> Vec<u64> {
    let mut sum = vec![1];
    match &expr.expr {
        Expr::Comprehension(c) => {
            for part in [&c.iter_range, &c.accu_init, &c.result] {
                add(&mut sum, &powers(part), 1);
            }
            let mut body = powers(&c.loop_cond);
            add(&mut body, &powers(&c.loop_step), 1);
            match &c.iter_range.expr {
                Expr::List(list) => add(&mut sum, &body, list.elements.len() as u64),
                _ => {
                    body.insert(0, 0);
                    add(&mut sum, &body, 1);
                }
            }
        }
        _ => {
            for part in below(expr) {
                add(&mut sum, &powers(part), 1);
            }
        }
    }
    sum
}

fn add(sum: &mut Vec<u64>, more: &[u64], times: u64) {
    sum.resize(sum.len().max(more.len()), 0);
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(more.saturating_mul(times));
    }
}

fn splits(expr: &IdedExpr) -> bool {
    let here = matches!(&expr.expr, Expr::Call(call) if SPLITTING.contains(&call.func_name.as_str()));
    here || below(expr).into_iter().any(splits)
}
