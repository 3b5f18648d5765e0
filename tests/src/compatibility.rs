//! The contract may only grow: `wit/policy.wit` beside the copy that was frozen when its version was released.
//!
//! What breaks plugins that are already compiled was measured on wasmtime: a record with another field, a variant or an enum with another
//! case, a function that changed or is gone, an export more. Functions and interfaces that are *imported* may be added.
//! The other half of the promise, the compiled plugins themselves, is in `frozen.rs`.

use std::collections::BTreeMap;

use wit_parser::{Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

/// The one world of the contract.
const WORLD: &str = "policy";
const ALLOWED: &str = "allowed are new functions, types and interfaces that plugins import, and other comments; for anything else put a new \
    interface, or a new function with types of its own, beside the old one, or begin paramedic:policy@2.0.0";

/// All that a plugin could be built against: the name of each item, and what it is in a form without comments.
#[derive(Debug)]
struct Contract {
    package: String,
    major: u64,
    imports: BTreeMap<String, String>,
    exports: BTreeMap<String, String>,
}

impl Contract {
    fn parse(text: &str) -> Self {
        let mut resolve = Resolve::default();
        let id = resolve.push_source("policy.wit", text).unwrap_or_else(|error| panic!("{error:#}"));
        let package = &resolve.packages[id];
        let world = &resolve.worlds[package.worlds[WORLD]];
        let list = |items: &wit_parser::IndexMap<WorldKey, WorldItem>| -> BTreeMap<String, String> {
            items.iter().flat_map(|(key, item)| listed(&resolve, key, item)).collect()
        };
        Self {
            package: format!("{}:{}", package.name.namespace, package.name.name),
            major: package.name.version.as_ref().map_or(0, |version| version.major),
            imports: list(&world.imports),
            exports: list(&world.exports),
        }
    }

    /// What of `later` breaks plugins that were built against this; each with the item's name.
    fn broken_by(&self, later: &Self) -> Vec<String> {
        if (&self.package, self.major) != (&later.package, later.major) {
            return vec![format!("the package is {}@{}, and was {}@{}", later.package, later.major, self.package, self.major)];
        }
        let mut broken = changed("import", &self.imports, &later.imports);
        broken.extend(changed("export", &self.exports, &later.exports));
        let more = later.exports.keys().filter(|name| !self.exports.contains_key(*name));
        broken.extend(more.map(|name| format!("export `{name}` was added, and no compiled plugin has it")));
        broken
    }
}

fn changed(side: &str, before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let what = |(name, was): (&String, &String)| match after.get(name) {
        None => Some(format!("{side} `{name}` is gone")),
        Some(is) if is != was => Some(format!("{side} `{name}` was `{was}` and is `{is}`")),
        Some(_) => None,
    };
    before.iter().filter_map(what).collect()
}

fn listed(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Vec<(String, String)> {
    let WorldItem::Interface { id, .. } = item else {
        // Such items carry no version, so the contract has none of them.
        return vec![(resolve.name_world_key(key), "an item of the world itself".to_owned())];
    };
    let interface = &resolve.interfaces[*id];
    let name = name_of(resolve, *id);
    let mut items = vec![(name.clone(), "interface".to_owned())];
    items.extend(interface.types.iter().map(|(of, id)| (format!("{name}.{of}"), definition(resolve, *id))));
    items.extend(interface.functions.iter().map(|(of, function)| (format!("{name}.{of}"), signature(resolve, function))));
    items
}

fn name_of(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.interfaces[id].name.clone().unwrap_or_default()
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<_> = function.params.iter().map(|p| format!("{}: {}", p.name, of_type(resolve, &p.ty))).collect();
    let result = function.result.as_ref().map_or_else(|| "nothing".to_owned(), |ty| of_type(resolve, ty));
    let kind = match function.kind {
        wit_parser::FunctionKind::Freestanding => "func",
        _ => "another kind of func",
    };
    format!("{kind}({}) -> {result}", parameters.join(", "))
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| of_type(resolve, ty);
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let fields: Vec<_> = record.fields.iter().map(|field| format!("{}: {}", field.name, of(&field.ty))).collect();
            format!("record {{{}}}", fields.join(", "))
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, of(ty)),
                None => case.name.clone(),
            };
            format!("variant {{{}}}", variant.cases.iter().map(case).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Enum(list) => {
            format!("enum {{{}}}", list.cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Flags(list) => {
            format!("flags {{{}}}", list.flags.iter().map(|flag| flag.name.clone()).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Resource => "resource".to_owned(),
        kind => of_kind(resolve, kind),
    }
}

/// A type where it is used: a named one by its name, since it is compared where it is defined.
fn of_type(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return format!("{ty:?}").to_lowercase() };
    let definition = &resolve.types[*id];
    match (&definition.name, definition.owner) {
        (Some(name), wit_parser::TypeOwner::Interface(owner)) => format!("{}.{name}", name_of(resolve, owner)),
        _ => of_kind(resolve, &definition.kind),
    }
}

fn of_kind(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let of = |ty: &Type| of_type(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), of);
    match kind {
        TypeDefKind::Type(ty) => of(ty),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", of(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", of(&Type::Id(*id))),
        other => format!("a {} as the contract never had", other.as_str()),
    }
}

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_contract_only_grows() {
    let later = Contract::parse(&read("../wit/policy.wit"));
    for version in super::frozen::versions() {
        let broken = Contract::parse(&read(&format!("frozen/{version}/policy.wit"))).broken_by(&later);
        assert!(
            broken.is_empty(),
            "wit/policy.wit breaks plugins that were built for {version}:\n  {}\n{ALLOWED}",
            broken.join("\n  ")
        );
    }
}

/// Each kind of change, made to the frozen contract: what is noticed, and what is let through.
#[test]
fn each_kind_of_break_is_noticed_and_growth_is_not() {
    let frozen = read("frozen/1.0.0/policy.wit");
    let before = Contract::parse(&frozen);
    let after = |from: &str, to: &str| {
        assert_eq!(frozen.matches(from).count(), 1, "`{from}` is not in the frozen contract exactly once");
        before.broken_by(&Contract::parse(&frozen.replacen(from, to, 1)))
    };
    let breaks = [
        (
            "        generator-url: string,",
            "        generator-url: string,\n        severity: string,",
            "import `types.alert` was `record",
        ),
        ("        inventory-host: option<string>,\n", "", "import `types.target` was"),
        ("        restart-count: u32,", "        restart-count: u64,", "import `containers.container` was"),
        ("        value: f64,\n", "        number: f64,\n", "import `metrics.sample` was"),
        (
            "        other(string),\n    }",
            "        other(string),\n        busy(string),\n    }",
            "import `types.lookup-error` was",
        ),
        ("enum level { debug,", "enum level { trace, debug,", "import `log.level` was `enum"),
        ("    start: func(target: string) -> proposal;", "", "import `docker.start` is gone"),
        ("    pause: func(target: string)", "    pause: func(name: string)", "import `docker.pause` was `func(target: string)"),
        (
            "query: func(promql: string) -> result<list<sample>, lookup-error>",
            "query: func(promql: string) -> list<sample>",
            "import `metrics.query` was",
        ),
        ("    decide: func() ->", "    decide: func(hint: string) ->", "export `handler.decide` was `func()"),
        (
            "    describe: func() -> manifest;",
            "    describe: func() -> manifest;\n    stop: func();",
            "export `lifecycle.stop` was added",
        ),
        ("    export handler;", "    export handler;\n    export log;", "export `log` was added"),
        ("    import notify;", "", "import `notify` is gone"),
        ("package paramedic:policy@1.0.0;", "package paramedic:policy@2.0.0;", "the package is paramedic:policy@2"),
    ];
    for (from, to, words) in breaks {
        let noticed = after(from, to);
        assert!(noticed.iter().any(|text| text.starts_with(words)), "{from} -> {to}: {noticed:?}");
    }
    let growth = [
        (
            "    start: func(target: string) -> proposal;",
            "    start: func(target: string) -> proposal;\n    rename: func(target: string) -> proposal;",
        ),
        ("    /// The incident's id, `<key>-<n>`.\n    id:", "    /// Said otherwise.\n    id:"),
        ("package paramedic:policy@1.0.0;", "package paramedic:policy@1.1.0;"),
        ("interface notify {", "interface weather { record sky { clouds: u32 } look: func() -> sky; }\ninterface notify {"),
    ];
    for (from, to) in growth {
        assert_eq!(after(from, to), Vec::<String>::new(), "{from} -> {to}");
    }
    let interface = frozen.replacen(growth[3].0, growth[3].1, 1);
    let imported = interface.replacen("    import notify;", "    import notify;\n    import weather;", 1);
    assert!(imported.contains("import weather"));
    assert_eq!(before.broken_by(&Contract::parse(&imported)), Vec::<String>::new());
}
