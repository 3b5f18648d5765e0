//! Where a plugin's types differ from the contract's, in the words of the contract.
//!
//! The engine only says that a plugin's types do not fit, in words about its own inside. The author needs the function, the field and both
//! types. So, once it is known that something is wrong, the contract's text is read and put beside the component's types. Absent on
//! purpose: a judgement; whether a plugin fits is the engine's to say. Also absent: what this WIT does not use, such as flags and streams.

use std::collections::BTreeMap;

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentFunc, ComponentInstance, ComponentItem, Type};

use super::load::{CONTRACT, Problem};
use crate::telemetry::clean;

const WIT: &str = include_str!("../../../wit/policy.wit");
/// Fields or cases that are named of a type.
const MOST_NAMED: usize = 12;

/// A type of the contract.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Plain(String),
    List(Box<Shape>),
    Option(Box<Shape>),
    Tuple(Vec<Shape>),
    Result(Option<Box<Shape>>, Option<Box<Shape>>),
    Record(Vec<(String, Shape)>),
    Variant(Vec<(String, Option<Shape>)>),
    Enum(Vec<String>),
    Resource(String),
}

/// A function of the contract.
#[derive(Clone, Debug, Default, PartialEq)]
struct Function {
    parameters: Vec<(String, Shape)>,
    result: Option<Shape>,
}

/// The functions of each interface.
type Contract = BTreeMap<String, BTreeMap<String, Function>>;

/// The first difference between a component's types and the contract's; `None` if none is seen here.
pub(super) fn difference(component: &Component, engine: &Engine) -> Option<Problem> {
    let contract = Reader::new(WIT).contract()?;
    let imports = component.imports(engine).filter_map(|(name, import)| match (interface(name), import.ty) {
        (Some(name), ComponentItem::ComponentInstance(instance)) => imported(name, &contract, &instance, engine),
        _ => None,
    });
    let exports = component.exports(engine).filter_map(|(name, export)| match (interface(name), export.ty) {
        (Some(name @ ("handler" | "lifecycle")), ComponentItem::ComponentInstance(instance)) => {
            exported(name, &contract, &instance, engine).map(wrong)
        }
        (Some(name @ ("handler" | "lifecycle")), _) => Some(wrong(format!("it exports `{name}`, but not as an interface"))),
        _ => None,
    });
    imports.chain(exports).next()
}

fn wrong(text: String) -> Problem {
    Problem::WrongType(clean(&text, 600))
}

/// `incident` of `paramedic:policy/incident@1.0.0`.
fn interface(name: &str) -> Option<&str> {
    name.strip_prefix(CONTRACT)?.strip_prefix('/')?.split('@').next()
}

/// A plugin imports what it likes of an interface, and nothing that is not there.
fn imported(name: &str, contract: &Contract, instance: &ComponentInstance, engine: &Engine) -> Option<Problem> {
    let known = contract.get(name);
    instance.exports(engine).find_map(|(function, item)| {
        let ComponentItem::ComponentFunc(got) = item.ty else { return None };
        match known.and_then(|functions| functions.get(function)) {
            Some(wanted) => unlike(wanted, &got).map(|what| wrong(format!("it imports `{name}.{function}`, and {what}"))),
            None => Some(Problem::UnknownImport(clean(&format!("the function `{name}.{function}`"), 300))),
        }
    })
}

/// A plugin exports all of an interface.
fn exported(name: &str, contract: &Contract, instance: &ComponentInstance, engine: &Engine) -> Option<String> {
    contract.get(name)?.iter().find_map(|(function, wanted)| match instance.get_export(engine, function).map(|item| item.ty) {
        Some(ComponentItem::ComponentFunc(got)) => {
            unlike(wanted, &got).map(|what| format!("it exports `{name}.{function}`, and {what}"))
        }
        Some(_) => Some(format!("it exports `{name}.{function}`, but not as a function")),
        None => Some(format!("it exports `{name}` without the function `{function}`")),
    })
}

fn unlike(wanted: &Function, got: &ComponentFunc) -> Option<String> {
    let parameters: Vec<(String, Type)> = got.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
    if parameters.len() != wanted.parameters.len() {
        return Some(format!("it has {} there, and should have {}", count(parameters.len()), count(wanted.parameters.len())));
    }
    let differs = wanted
        .parameters
        .iter()
        .zip(&parameters)
        .find_map(|((name, shape), (_, ty))| compare(shape, ty, &format!("its parameter `{name}`")));
    let results: Vec<Type> = got.results().collect();
    differs.or_else(|| match (&wanted.result, results.first()) {
        (Some(shape), Some(ty)) => compare(shape, ty, "its result"),
        (None, None) => None,
        (Some(shape), None) => Some(format!("it has no result there, and should have {}", shape.spell())),
        (None, Some(ty)) => Some(format!("its result is {} there, and it should have none", spell(ty))),
    })
}

fn count(parameters: usize) -> String {
    if parameters == 1 { "1 parameter".to_owned() } else { format!("{parameters} parameters") }
}

/// The first difference between two types. `place` is what they are the types of.
fn compare(wanted: &Shape, got: &Type, place: &str) -> Option<String> {
    match (wanted, got) {
        (Shape::List(wanted), Type::List(got)) => compare(wanted, &got.ty(), &format!("an item of {place}")),
        (Shape::Option(wanted), Type::Option(got)) => compare(wanted, &got.ty(), place),
        (Shape::Tuple(wanted), Type::Tuple(got)) if wanted.len() == got.types().len() => {
            wanted.iter().zip(got.types()).find_map(|(wanted, got)| compare(wanted, &got, &format!("a part of {place}")))
        }
        (Shape::Result(ok, err), Type::Result(got)) => {
            let part = |wanted: &Option<Box<Shape>>, got: Option<Type>, word: &str| match (wanted, got) {
                (Some(wanted), Some(got)) => compare(wanted, &got, &format!("the {word} of {place}")),
                (None, None) => None,
                (Some(wanted), None) => Some(format!("the {word} of {place} is empty there, and should be {}", wanted.spell())),
                (None, Some(got)) => Some(format!("the {word} of {place} is {} there, and should be empty", spell(&got))),
            };
            part(ok, got.ok(), "ok").or_else(|| part(err, got.err(), "error"))
        }
        (Shape::Record(wanted), Type::Record(got)) => {
            let fields: Vec<(String, Type)> = got.fields().map(|field| (field.name.to_owned(), field.ty)).collect();
            names("field", wanted.iter().map(|(n, _)| n.as_str()), fields.iter().map(|(n, _)| n.as_str()), place).or_else(|| {
                let field = |((name, wanted), (_, got)): (&(String, Shape), &(String, Type))| {
                    compare(wanted, got, &format!("the field `{name}` of {place}"))
                };
                wanted.iter().zip(&fields).find_map(field)
            })
        }
        (Shape::Variant(wanted), Type::Variant(got)) => {
            let cases: Vec<(String, Option<Type>)> = got.cases().map(|case| (case.name.to_owned(), case.ty)).collect();
            names("case", wanted.iter().map(|(n, _)| n.as_str()), cases.iter().map(|(n, _)| n.as_str()), place).or_else(|| {
                wanted.iter().zip(&cases).find_map(|((name, wanted), (_, got))| match (wanted, got) {
                    (Some(wanted), Some(got)) => compare(wanted, got, &format!("the case `{name}` of {place}")),
                    (None, None) => None,
                    _ => Some(format!("the case `{name}` of {place} holds something in only one of the two")),
                })
            })
        }
        (Shape::Enum(wanted), Type::Enum(got)) => names("case", wanted.iter().map(String::as_str), got.names(), place),
        (Shape::Resource(_), Type::Own(_)) => None,
        (Shape::Plain(wanted), got) if *wanted == spell(got) => None,
        (wanted, got) => Some(format!("{place} is {} there, and should be {}", spell(got), wanted.spell())),
    }
}

/// Fields or cases that are missing, that are too many, or that stand in another order.
fn names<'a>(
    what: &str,
    wanted: impl Iterator<Item = &'a str>,
    got: impl Iterator<Item = &'a str>,
    place: &str,
) -> Option<String> {
    let (wanted, got): (Vec<_>, Vec<_>) = (wanted.collect(), got.collect());
    let only = |these: &[&str], those: &[&str]| these.iter().find(|name| !those.contains(name)).map(|name| (*name).to_owned());
    if let Some(missing) = only(&wanted, &got) {
        return Some(format!("{place} has no {what} `{missing}` there"));
    }
    if let Some(unknown) = only(&got, &wanted) {
        return Some(format!("{place} has a {what} `{unknown}` there, which the contract does not have"));
    }
    (wanted != got).then(|| format!("the {what}s of {place} stand in another order there; they should be {}", list(&wanted)))
}

fn list(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

impl Shape {
    /// As in WIT, with the names of fields and cases in the place of a type's own name.
    fn spell(&self) -> String {
        let part = |shape: &Option<Box<Self>>| shape.as_ref().map_or("_".to_owned(), |shape| shape.spell());
        match self {
            Self::Plain(name) => name.clone(),
            Self::List(item) => format!("list<{}>", item.spell()),
            Self::Option(item) => format!("option<{}>", item.spell()),
            Self::Tuple(items) => format!("tuple<{}>", items.iter().map(Self::spell).collect::<Vec<_>>().join(", ")),
            Self::Result(ok, err) => format!("result<{}, {}>", part(ok), part(err)),
            Self::Record(fields) => format!("record {{{}}}", list(&fields.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>())),
            Self::Variant(cases) => format!("variant {{{}}}", list(&cases.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>())),
            Self::Enum(names) => format!("enum {{{}}}", list(&names.iter().map(String::as_str).collect::<Vec<_>>())),
            Self::Resource(name) => format!("a {name}"),
        }
    }
}

/// A component's type, spelt as a [`Shape`] is.
fn spell(ty: &Type) -> String {
    let part = |ty: Option<Type>| ty.map_or("_".to_owned(), |ty| spell(&ty));
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Float32 => "f32".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(items) => format!("list<{}>", spell(&items.ty())),
        Type::Option(item) => format!("option<{}>", spell(&item.ty())),
        Type::Tuple(items) => format!("tuple<{}>", items.types().map(|ty| spell(&ty)).collect::<Vec<_>>().join(", ")),
        Type::Result(result) => format!("result<{}, {}>", part(result.ok()), part(result.err())),
        Type::Record(record) => format!("record {{{}}}", list(&record.fields().map(|field| field.name).collect::<Vec<_>>())),
        Type::Variant(variant) => format!("variant {{{}}}", list(&variant.cases().map(|case| case.name).collect::<Vec<_>>())),
        Type::Enum(cases) => format!("enum {{{}}}", list(&cases.names().collect::<Vec<_>>())),
        Type::Own(_) => "a resource".to_owned(),
        Type::Borrow(_) => "a borrowed resource".to_owned(),
        _ => "a type that the contract does not use".to_owned(),
    }
}

/// Reads WIT as far as the contract uses it. Every method gives `None` where the text is otherwise than that.
struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    /// The types of each interface that was read already.
    types: BTreeMap<String, BTreeMap<String, Shape>>,
    here: BTreeMap<String, Shape>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        Self { words: lines.flat_map(words).collect(), at: 0, types: BTreeMap::new(), here: BTreeMap::new() }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.at += 1;
        self.words.get(self.at - 1).copied()
    }

    fn is(&self, word: &str) -> bool {
        self.words.get(self.at) == Some(&word)
    }

    fn skip(&mut self, word: &str) -> bool {
        let here = self.is(word);
        self.at += usize::from(here);
        here
    }

    fn want(&mut self, word: &str) -> Option<()> {
        self.skip(word).then_some(())
    }

    /// What stands between here and `end`, with commas between.
    fn many<T>(&mut self, end: &str, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut found = Vec::new();
        while !self.skip(end) {
            found.push(one(self)?);
            if !self.skip(",") {
                self.want(end)?;
                break;
            }
        }
        Some(found)
    }

    fn contract(mut self) -> Option<Contract> {
        let mut contract = Contract::new();
        while let Some(word) = self.next() {
            match word {
                "interface" => {
                    let name = self.next()?.to_owned();
                    contract.insert(name.clone(), self.interface()?);
                    self.types.insert(name, std::mem::take(&mut self.here));
                }
                "world" => break,
                _ => while !matches!(self.next()?, ";") {},
            }
        }
        Some(contract)
    }

    fn interface(&mut self) -> Option<BTreeMap<String, Function>> {
        self.want("{")?;
        let mut functions = BTreeMap::new();
        while !self.skip("}") {
            let word = self.next()?;
            if self.is(":") {
                functions.insert(word.to_owned(), self.function()?);
                continue;
            }
            if word == "use" {
                self.uses()?;
                continue;
            }
            let name = self.next()?.to_owned();
            let shape = self.definition(word, &name)?;
            self.here.insert(name, shape);
        }
        Some(functions)
    }

    fn uses(&mut self) -> Option<()> {
        let interface = self.next()?;
        let from = self.types.get(interface)?.clone();
        self.want(".")?;
        self.want("{")?;
        let taken = self.many("}", |reader| {
            let name = reader.next()?;
            let called = if reader.skip("as") { reader.next()? } else { name };
            Some((called.to_owned(), from.get(name)?.clone()))
        })?;
        self.here.extend(taken);
        self.want(";")
    }

    fn definition(&mut self, word: &str, name: &str) -> Option<Shape> {
        Some(match word {
            "type" => {
                self.want("=")?;
                let shape = self.shape()?;
                self.want(";")?;
                shape
            }
            "resource" => {
                self.want(";")?;
                Shape::Resource(name.to_owned())
            }
            "record" => {
                self.want("{")?;
                Shape::Record(self.many("}", Self::named)?)
            }
            "enum" => {
                self.want("{")?;
                Shape::Enum(self.many("}", |reader| reader.next().map(str::to_owned))?)
            }
            "variant" => {
                self.want("{")?;
                Shape::Variant(self.many("}", |reader| {
                    let name = reader.next()?.to_owned();
                    if !reader.skip("(") {
                        return Some((name, None));
                    }
                    let shape = reader.shape()?;
                    reader.want(")")?;
                    Some((name, Some(shape)))
                })?)
            }
            _ => return None,
        })
    }

    /// `name: type`.
    fn named(&mut self) -> Option<(String, Shape)> {
        let name = self.next()?.to_owned();
        self.want(":")?;
        Some((name, self.shape()?))
    }

    fn function(&mut self) -> Option<Function> {
        for word in [":", "func", "("] {
            self.want(word)?;
        }
        let parameters = self.many(")", Self::named)?;
        let result = if self.skip("->") { Some(self.shape()?) } else { None };
        self.want(";")?;
        Some(Function { parameters, result })
    }

    fn shape(&mut self) -> Option<Shape> {
        let word = self.next()?;
        if let Some(shape) = self.here.get(word) {
            return Some(shape.clone());
        }
        if !self.skip("<") {
            let plain = matches!(word, "bool" | "u8" | "u32" | "u64" | "s32" | "s64" | "f64" | "char" | "string");
            return plain.then(|| Shape::Plain(word.to_owned()));
        }
        let mut parts =
            self.many(">", |reader| if reader.skip("_") { Some(None) } else { reader.shape().map(Some) })?.into_iter();
        Some(match word {
            "list" => Shape::List(Box::new(parts.next()??)),
            "option" => Shape::Option(Box::new(parts.next()??)),
            "tuple" => Shape::Tuple(parts.collect::<Option<_>>()?),
            "result" => Shape::Result(parts.next()?.map(Box::new), parts.next().flatten().map(Box::new)),
            _ => return None,
        })
    }
}

/// Names, and single signs; `->` is one.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let length = if rest.starts_with("->") {
            2
        } else if first.is_ascii_alphanumeric() {
            rest.find(|c| !name(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::bindings::INTERFACES;
    use super::*;

    #[test]
    fn the_whole_contract_is_read() {
        let contract = Reader::new(WIT).contract().unwrap();
        let mut names: Vec<_> = contract.keys().map(String::as_str).collect();
        let mut known: Vec<_> = INTERFACES.into_iter().chain(["handler", "lifecycle"]).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        let functions: usize = contract.values().map(BTreeMap::len).sum();
        assert_eq!(functions, WIT.lines().filter(|line| line.contains(": func(") && !line.contains("//")).count());
        let now = &contract["incident"]["now"];
        assert_eq!(*now, Function { parameters: vec![], result: Some(Shape::Plain("s64".to_owned())) });
        let kill = &contract["docker"]["kill"];
        assert_eq!(kill.parameters[1].1.spell(), "option<string>");
        assert_eq!(kill.result.as_ref().unwrap().spell(), "a proposal");
        let check = contract["lifecycle"]["check"].result.as_ref().unwrap().spell();
        assert_eq!(check, "result<_, string>");
        let Shape::List(targets) = contract["incident"]["targets"].result.clone().unwrap() else { panic!("no list") };
        assert_eq!(targets.spell(), "record {name, inventory-host, state, extra}");
    }

    #[test]
    fn names_that_differ_are_told() {
        let said = |wanted: &[&'static str], got: &[&'static str]| {
            names("field", wanted.iter().copied(), got.iter().copied(), "its result")
        };
        assert_eq!(said(&["a", "b"], &["a", "b"]), None);
        assert_eq!(said(&["a", "b"], &["a"]).unwrap(), "its result has no field `b` there");
        assert_eq!(said(&["a"], &["a", "x"]).unwrap(), "its result has a field `x` there, which the contract does not have");
        assert_eq!(
            said(&["a", "b"], &["b", "a"]).unwrap(),
            "the fields of its result stand in another order there; they should be a, b"
        );
    }
}
