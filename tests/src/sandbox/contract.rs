//! Plugins that lie in the machine's own language: addresses, lengths, handles and cases that cannot be right. Each ends as its own
//! failed decision, with a sentence.

use std::time::Duration;

use paramedic::decide::sandbox::{Failure, Limits, Ruling};
use paramedic::incident::Decision;
use serde_json::Value;

use super::raw::Raw;
use super::{assert_others_go_on, brief, patient, sandbox};

const OUTSIDE: &str = "the plugin broke its contract: it handed over an address outside of its memory";
const ASKEW: &str = "the plugin broke its contract: it handed over an address where such a value cannot be";
const NO_TEXT: &str = "the plugin broke its contract: it handed over a text that is not UTF-8";
const NO_CASE: &str = "the plugin broke its contract: it handed over a case that its type does not have";
const NO_HANDLE: &str = "the plugin broke its contract: it used a handle that it does not have";
const OTHER_KIND: &str = "the plugin broke its contract: it used a handle of one kind as one of another";
const CALLED_BACK: &str = "the plugin broke its contract: it called the host while the host handed something over";
const GAVE_UP: &str = "the plugin crashed: it gave up (`unreachable`)";
const LEFT: &str = "the plugin crashed: it left its memory, or called itself until its stack was full";
const TOO_LATE: &str = "the plugin gave no answer within 500 ms, the policy's `limits.deadline`";

async fn ruling(raw: &Raw<'_>, limits: &Limits) -> Ruling {
    let plugin = sandbox().load("raw.wasm", &raw.component()).await.unwrap();
    plugin.decide(&brief(Value::Null), limits).await
}

/// What becomes of a plugin whose `decide` has this body.
async fn said(decide: &str) -> String {
    refusal(&Raw { decide, ..Raw::default() }).await
}

async fn refusal(raw: &Raw<'_>) -> String {
    // Several of these never end.
    let limits = Limits { deadline: Duration::from_millis(500), ..patient() };
    let said = ruling(raw, &limits).await.decision.unwrap_err().to_string();
    assert!(!said.contains(|c: char| c.is_control()) && said.chars().count() < 1100, "{said:?}");
    assert_others_go_on().await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_raw_plugin_itself_is_sound() {
    let ruling = ruling(&Raw::default(), &patient()).await;
    assert_eq!(ruling.decision, Ok(Decision::Pass { reason: "fine".into() }));
}

/// `ok(act(...))` with `count` handles, which `handles` has put at 4096.
fn act(handles: &str, count: u32) -> String {
    format!(
        "{handles} (i32.store8 (i32.const 2056) (i32.const 2)) (i32.store (i32.const 2064) (i32.const 16))
        (i32.store (i32.const 2068) (i32.const 4)) (i32.store (i32.const 2072) (i32.const 4096))
        (i32.store (i32.const 2076) (i32.const {count})) (i32.const 2048)"
    )
}

/// `ok(pass(text))` with any address and length.
fn text(address: i64, length: i64) -> String {
    format!(
        "(i32.store (i32.const 2064) (i32.const {address})) (i32.store (i32.const 2068) (i32.const {length})) (i32.const 2048)"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_cases_that_cannot_be_right() {
    let invalid = |bytes: &str| format!("(i32.store (i32.const 3072) (i32.const {bytes})) {}", text(3072, 3));
    let cases = [
        ("a text outside", text(-256, 4), OUTSIDE),
        ("a text without end", text(16, -1), OUTSIDE),
        ("a text over the edge", text(4 * 65536 - 2, 4), OUTSIDE),
        ("a text that is no UTF-8", invalid("0xfefeff"), NO_TEXT),
        ("half a surrogate pair", invalid("0x80a0ed"), NO_TEXT),
        ("an answer outside", "(i32.const -8)".to_owned(), OUTSIDE),
        ("an answer beside its place", "(i32.const 2049)".to_owned(), ASKEW),
        ("neither ok nor an error", "(i32.store8 (i32.const 2048) (i32.const 7)) (i32.const 2048)".to_owned(), NO_CASE),
        ("a decision that does not exist", "(i32.store8 (i32.const 2056) (i32.const 9)) (i32.const 2048)".to_owned(), NO_CASE),
        ("a list without end", act("", 1 << 30), OUTSIDE),
        ("a list of too many handles", act("", 60_000), NO_HANDLE),
        (
            "a log level that does not exist",
            "(call $log (i32.const 9) (i32.const 16) (i32.const 4)) (i32.const 2048)".to_owned(),
            NO_CASE,
        ),
        ("a log line outside", "(call $log (i32.const 1) (i32.const -9) (i32.const 4)) (i32.const 2048)".to_owned(), OUTSIDE),
        ("a place for an answer outside", "(call $id (i32.const -4)) (i32.const 2048)".to_owned(), OUTSIDE),
    ];
    for (what, decide, words) in cases {
        assert_eq!(said(&decide).await, words, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_are_forged_kept_or_used_twice() {
    const MAKE: &str = "(call $start (i32.const 48) (i32.const 9))";
    let put = |handle: &str| format!("(i32.store (i32.const 4096) {handle})");
    let twice = format!("(i32.store (i32.const 4096) {MAKE}) (i32.store (i32.const 4100) (i32.load (i32.const 4096)))");
    let dropped = format!("{} (call $drop (i32.load (i32.const 4096)))", put(MAKE));
    let many = |make: &str| {
        format!(
            "(local $n i32) (loop (drop {make}) (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000)))) (i32.const 2048)"
        )
    };
    let cases = [
        ("made up", act(&put("(i32.const 12345)"), 1), NO_HANDLE),
        ("nothing", act(&put("(i32.const 0)"), 1), NO_HANDLE),
        ("negative", act(&put("(i32.const -1)"), 1), NO_HANDLE),
        ("the same twice", act(&twice, 2), NO_HANDLE),
        ("dropped before", act(&dropped, 1), NO_HANDLE),
        ("of another type", act(&put("(call $stdout)"), 1), OTHER_KIND),
        ("dropping what it never had", "(call $drop (i32.const 77)) (i32.const 2048)".to_owned(), NO_HANDLE),
        ("dropping a stream as a proposal", "(call $drop (call $stdout)) (i32.const 2048)".to_owned(), OTHER_KIND),
        ("thousands of proposals", many(MAKE), "the plugin broke its contract: it made more than 64 proposals"),
        ("thousands of streams", many("(call $stdout)"), "the plugin broke its contract: it keeps too many handles open"),
    ];
    for (what, decide, words) in cases {
        assert_eq!(said(&decide).await, words, "{what}");
    }
}

/// What the host calls while it hands something over: it has to be right, and must not call back.
#[tokio::test(flavor = "multi_thread")]
async fn helpers_of_the_host_that_lie() {
    const ASK: &str = "(call $id (i32.const 3072)) (i32.const 2048)";
    let realloc = |body: &'static str| Raw { decide: ASK, realloc: body, ..Raw::default() };
    let after = |body: &'static str| Raw { afterwards: body, ..Raw::default() };
    let cases = [
        ("memory outside", realloc("(i32.const -16)"), OUTSIDE),
        ("no memory", realloc("(unreachable)"), GAVE_UP),
        ("memory that asks back", realloc("(drop (call $now)) (i32.const 4096)"), CALLED_BACK),
        ("memory after an endless search", realloc("(loop (br 0)) (i32.const 4096)"), TOO_LATE),
        ("crashes afterwards", after("(unreachable)"), GAVE_UP),
        ("asks afterwards", after("(drop (call $now))"), CALLED_BACK),
        ("never ends afterwards", after("(loop (br 0))"), TOO_LATE),
    ];
    for (what, raw, words) in cases {
        assert_eq!(refusal(&raw).await, words, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_every_kind() {
    let cases = [
        ("divides by zero", "(i32.div_s (i32.const 1) (i32.const 0))", "the plugin crashed: wasm trap: integer divide by zero"),
        (
            "divides too far",
            "(i32.div_s (i32.const 0x80000000) (i32.const -1))",
            "the plugin crashed: wasm trap: integer overflow",
        ),
        (
            "makes a number of none",
            "(i32.trunc_f64_s (f64.const nan))",
            "the plugin crashed: wasm trap: invalid conversion to integer",
        ),
        ("reads outside", "(i32.load (i32.const -4))", LEFT),
        ("fills outside", "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 2048)", LEFT),
        (
            "calls nothing",
            "(call_indirect $none (type $nothing) (i32.const 0)) (i32.const 2048)",
            "the plugin crashed: wasm trap: uninitialized element",
        ),
        (
            "calls beyond its table",
            "(call_indirect $none (type $nothing) (i32.const 9)) (i32.const 2048)",
            "the plugin crashed: wasm trap: undefined element: out of bounds table access",
        ),
        ("gives up", "(unreachable)", GAVE_UP),
        ("calls itself", "(call $self) (i32.const 2048)", "the plugin crashed: it called itself until its stack was full"),
    ];
    let more = "(type $nothing (func)) (table $none 4 funcref) (func $self (call $self) (call $self))";
    for (what, decide, words) in cases {
        assert_eq!(refusal(&Raw { decide, more, ..Raw::default() }).await, words, "{what}");
    }
}

/// The plugin's own check of a policy's settings runs when policies are loaded: it must not hold that up for ever, nor say too much.
#[tokio::test(flavor = "multi_thread")]
async fn checks_of_settings_that_harm() {
    let error = |address: u32, length: u32| {
        format!(
            "(i32.store8 (i32.const 2560) (i32.const 1)) (i32.store (i32.const 2564) (i32.const {address}))
            (i32.store (i32.const 2568) (i32.const {length})) (i32.const 2560)"
        )
    };
    let failed = |words: &str| format!("asked to check them, it failed: {words}");
    let cases = [
        ("loop (br 0)".to_owned(), failed("the plugin gave no answer within 5.0 s")),
        ("unreachable".to_owned(), failed(GAVE_UP)),
        (
            "drop (call $now)".to_owned(),
            failed("the plugin broke its contract: `describe` must not ask about an incident: there is none yet"),
        ),
        (error(0, u32::MAX), failed(OUTSIDE)),
        (error(0, 2 << 20), failed("the plugin broke its contract: it handed over more than 1 MiB at once")),
    ];
    for (check, words) in cases {
        let check = if check.starts_with('(') { check } else { format!("({check}) (i32.const 2560)") };
        let raw = Raw { check: &check, pages: 64, ..Raw::default() };
        let plugin = sandbox().load("raw.wasm", &raw.component()).await.unwrap();
        assert_eq!(plugin.check_settings(&Value::Null).await, [words], "{check}");
        assert_others_go_on().await;
    }
    let long = Raw { check: &error(65536, 1 << 20), pages: 64, ..Raw::default() };
    let plugin = sandbox().load("raw.wasm", &long.component()).await.unwrap();
    let said = plugin.check_settings(&Value::Null).await;
    assert!(said.len() == 1 && said[0].chars().count() <= 1000 && !said[0].contains('\0'), "{said:?}");
}

/// Code that runs before the plugin is asked anything has the same limits.
#[tokio::test(flavor = "multi_thread")]
async fn start_up_code_that_harms() {
    let start = |body: &str| format!("(func $begin {body}) (start $begin)");
    let cases = [
        ("spins", start("(loop (br 0))"), "the plugin gave no answer within 5.0 s"),
        ("traps", start("(unreachable)"), GAVE_UP),
        (
            "allocates",
            start("(loop (drop (memory.grow (i32.const 16))) (br 0))"),
            "the plugin wanted more than 256 MiB of memory",
        ),
        ("recurses", start("(call $begin)"), "the plugin crashed: it called itself until its stack was full"),
        (
            "asks",
            start("(drop (call $now))"),
            "the plugin broke its contract: `describe` must not ask about an incident: there is none yet",
        ),
        (
            "fills",
            start("(loop (memory.fill (i32.const 131072) (i32.const 1) (i32.const 65536)) (br 0))"),
            "the plugin gave no answer within 5.0 s",
        ),
    ];
    for (what, more, words) in cases {
        let error = sandbox().load("raw.wasm", &Raw { more: &more, ..Raw::default() }.component()).await.unwrap_err();
        let expected =
            format!("plugin raw.wasm: asked to describe itself, it failed: {words}; `describe` must not depend on anything");
        assert_eq!(error.to_string(), expected, "{what}");
        assert_others_go_on().await;
    }
}

/// Memory and tables that grow in small steps are summed, and one instruction that moves much ends no later than others.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_in_small_pieces_is_summed() {
    let decide = "(loop (drop (memory.grow (i32.const 1))) (br 0)) (i32.const 2048)";
    let ruling = ruling(&Raw { decide, ..Raw::default() }, &patient()).await;
    assert_eq!(ruling.decision, Err(Failure::Memory(64 << 20)));
    let more = "(table $a 0 funcref) (table $b 0 funcref)";
    let grow = |table: &str| format!("(drop (table.grow {table} (ref.null func) (i32.const 1000)))");
    let decide = format!("(loop {} {} (br 0)) (i32.const 2048)", grow("$a"), grow("$b"));
    let said = refusal(&Raw { decide: &decide, more, ..Raw::default() }).await;
    assert_eq!(said, "the plugin broke its contract: its tables grow without end");
}

/// One instruction cannot be interrupted, so what it can move at most has to be moved within the deadline's tolerance.
#[tokio::test(flavor = "multi_thread")]
async fn one_long_instruction_after_the_other_is_ended_at_the_deadline() {
    let limits = Limits { deadline: Duration::from_millis(300), ..patient() };
    for decide in [
        "memory.fill (i32.const 0) (i32.const 0) (i32.const 0x3f00000)",
        "memory.copy (i32.const 8) (i32.const 0) (i32.const 0x3f00000)",
    ] {
        let decide = format!("(loop ({decide}) (br 0)) (i32.const 2048)");
        let ruling = ruling(&Raw { decide: &decide, pages: 1020, ..Raw::default() }, &limits).await;
        assert_eq!(ruling.decision, Err(Failure::Deadline(limits.deadline)));
        assert!(ruling.micros < 600_000, "{decide} was ended after {} us", ruling.micros);
        assert_others_go_on().await;
    }
}
