//! One CEL expression: parsed, and its names checked before anything is asked.
//!
//! CEL itself finds an unknown name only when it comes to it, which for a rule may be the night on which it is needed. So names, functions, and
//! the fields of what has known fields are checked when the settings are read. Types are not: labels and metrics have none beforehand.

use std::fmt;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::PrattParser;
use cel::parser::pratt_parser::{Lexer, TokenKind};

use crate::names::{FUNCTIONS, Names, TYPES};

/// A parsed expression.
#[derive(Debug)]
pub struct Condition {
    /// As it is written.
    pub source: String,
    /// As it is evaluated.
    pub expression: IdedExpr,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.source.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(120) {
            Some((end, _)) => write!(f, "{}...", &line[..end]),
            None => f.write_str(&line),
        }
    }
}

impl Condition {
    /// Parses an expression that may use these names.
    ///
    /// # Errors
    /// Says at which column what is wrong, and what there is instead.
    pub fn parse(source: &str, names: &Names<'_>) -> Result<Self, String> {
        let parser = PrattParser::new().enable_optional_syntax(true).error_reporting_limit(1);
        let mut expression = parser.parse(source).map_err(|errors| match errors.errors.first() {
            Some(error) => format!("{}: {}", place(error.pos.0, error.pos.1), error.msg.trim_start_matches("Syntax error: ")),
            None => "it cannot be read".to_owned(),
        })?;
        let mut check = Check { source, names, scope: Vec::new() };
        check.walk(&mut expression)?;
        Ok(Self { source: source.to_owned(), expression })
    }

    /// What of this expression could have wanted that key: `labels`, if it says `labels.severity` or `labels["severity"]`.
    pub fn owner_of(&self, key: &str) -> Option<String> {
        owner(&self.expression.expr, key)
    }
}

fn place(line: isize, column: isize) -> String {
    if line <= 1 { format!("column {column}") } else { format!("line {line}, column {column}") }
}

struct Check<'a> {
    source: &'a str,
    names: &'a Names<'a>,
    /// Names that `exists`, `map` and so on make.
    scope: Vec<String>,
}

impl Check<'_> {
    fn walk(&mut self, expr: &mut IdedExpr) -> Result<(), String> {
        match &mut expr.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => {
                self.walk(&mut select.operand)?;
                match &select.operand.expr {
                    Expr::Ident(root) if !self.scope.contains(root) => self.field(root, &select.field),
                    _ => Ok(()),
                }
            }
            Expr::Call(call) if matches!(call.func_name.as_str(), "answered" | "problem") => {
                let name = self.lookup_named(&call.func_name, call.target.is_none(), &call.args)?;
                expr.expr = Expr::Ident(format!("{}:{name}", call.func_name));
                Ok(())
            }
            Expr::Call(call) => {
                self.function(&call.func_name)?;
                if let Some(target) = call.target.as_deref_mut().filter(|t| !matches!(&t.expr, Expr::Ident(n) if n == "optional"))
                {
                    self.walk(target)?;
                }
                call.args.iter_mut().try_for_each(|arg| self.walk(arg))
            }
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.walk(element)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => self.walk(&mut entry.key).and_then(|()| self.walk(&mut entry.value)),
                EntryExpr::StructField(field) => self.walk(&mut field.value),
            }),
            Expr::Comprehension(all) => {
                self.walk(&mut all.iter_range)?;
                let before = self.scope.len();
                self.scope.extend([all.iter_var.clone(), all.accu_var.clone()]);
                self.scope.extend(all.iter_var2.clone());
                for part in [&mut all.accu_init, &mut all.loop_cond, &mut all.loop_step, &mut all.result] {
                    self.walk(part)?;
                }
                self.scope.truncate(before);
                Ok(())
            }
            Expr::Struct(made) => Err(self.at(&made.type_name, format!("there is no type `{}`", made.type_name))),
        }
    }

    fn ident(&self, name: &str) -> Result<(), String> {
        let known =
            name.starts_with('@') || self.scope.iter().any(|n| n == name) || TYPES.contains(&name) || self.names.has(name);
        if known { Ok(()) } else { Err(self.at(name, format!("there is no `{name}`; there are {}", self.names))) }
    }

    fn field(&self, root: &str, field: &str) -> Result<(), String> {
        match self.names.fields(root) {
            Some(fields) if !fields.contains(&field) => {
                Err(self.at(field, format!("`{root}` has no `{field}`; it has {}", fields.join(", "))))
            }
            _ => Ok(()),
        }
    }

    fn function(&self, name: &str) -> Result<(), String> {
        let operator = name.starts_with(['_', '@', '!', '-']);
        if operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        Err(self.at(name, format!("there is no function `{name}`; there are {}", FUNCTIONS.join(", "))))
    }

    /// `answered(disk)`: the name is meant, not the answer.
    fn lookup_named(&self, function: &str, global: bool, args: &[IdedExpr]) -> Result<String, String> {
        match args {
            [IdedExpr { expr: Expr::Ident(name), .. }] if global && self.names.lookup(name).is_some() => Ok(name.clone()),
            _ => {
                Err(self
                    .at(function, format!("`{function}(...)` takes the name of a lookup; there are {}", self.names.lookups())))
            }
        }
    }

    /// The first place where that word is written. The parser keeps no places for what it understood.
    fn at(&self, word: &str, message: String) -> String {
        let mut lexer = Lexer::new(self.source);
        loop {
            let token = lexer.lex();
            match token.kind {
                TokenKind::TokEnd | TokenKind::TokError => return message,
                TokenKind::TokIdent if self.source.get(token.start..token.end) == Some(word) => {
                    let before = &self.source[..token.start];
                    let line = before.matches('\n').count() + 1;
                    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                    return if line == 1 {
                        format!("column {column}: {message}")
                    } else {
                        format!("line {line}, column {column}: {message}")
                    };
                }
                _ => {}
            }
        }
    }
}

fn owner(expr: &Expr, key: &str) -> Option<String> {
    let named = |expr: &Expr| if let Expr::Ident(name) = expr { Some(name.clone()) } else { None };
    match expr {
        Expr::Select(select) if select.field == key => named(&select.operand.expr),
        Expr::Select(select) => owner(&select.operand.expr, key),
        Expr::Call(call) => {
            if let ("_[_]", [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }]) =
                (call.func_name.as_str(), call.args.as_slice())
                && text.inner() == key
            {
                return named(&of.expr);
            }
            let target = call.target.as_deref().and_then(|target| owner(&target.expr, key));
            target.or_else(|| call.args.iter().find_map(|arg| owner(&arg.expr, key)))
        }
        Expr::List(list) => list.elements.iter().find_map(|element| owner(&element.expr, key)),
        Expr::Comprehension(all) => {
            let parts = [&all.iter_range, &all.loop_step, &all.result];
            parts.into_iter().find_map(|part| owner(&part.expr, key))
        }
        _ => None,
    }
}
