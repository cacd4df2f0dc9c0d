//! Reads the paths into the crate out of Rust source, token by token.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path that source code names, from the root of the crate.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) line: usize,
    pub(super) to: Vec<String>,
}

/// One source file under `src`.
pub(super) struct Source {
    pub(super) file: String,
    pub(super) module: Vec<String>,
    pub(super) tokens: TokenStream,
}

/// The paths into the crate that one file names, and what else in it the floors forbid.
pub(super) fn edges(source: &Source) -> (Vec<Edge>, Vec<String>) {
    let mut reader = Reader { edges: Vec::new(), wrong: Vec::new(), file: &source.file };
    reader.walk(source.tokens.clone(), &source.module);
    (reader.edges, reader.wrong)
}

struct Reader<'a> {
    edges: Vec<Edge>,
    wrong: Vec<String>,
    file: &'a str,
}

impl Reader<'_> {
    fn walk(&mut self, tokens: TokenStream, module: &[String]) {
        let trees: Vec<_> = tokens.into_iter().collect();
        let mut i = 0;
        while i < trees.len() {
            i = self.step(&trees, i, module);
        }
    }

    /// Reads what stands at `i`; answers where to go on.
    fn step(&mut self, trees: &[TokenTree], i: usize, module: &[String]) -> usize {
        if let Some(attribute) = attribute(trees, i) {
            if is_test_only(attribute) {
                return end_of_item(trees, i);
            }
            self.attribute(attribute, module);
            return i + 2;
        }
        match (&trees[i], trees.get(i + 1), trees.get(i + 2)) {
            (TokenTree::Ident(word), Some(TokenTree::Ident(name)), Some(TokenTree::Group(body)))
                if word == "mod" && body.delimiter() == Delimiter::Brace =>
            {
                self.walk(body.stream(), &[module, &[name.to_string()]].concat());
                i + 3
            }
            (TokenTree::Ident(word), Some(TokenTree::Ident(name)), _) if word == "mod" && name == "tests" => {
                self.wrong(name.span().start().line, "`mod tests` without `#[cfg(test)]`");
                i + 2
            }
            (TokenTree::Ident(word), Some(TokenTree::Ident(what)), Some(TokenTree::Ident(_)))
                if word == "extern" && what == "crate" && is_word(trees.get(i + 2), "self") =>
            {
                self.wrong(word.span().start().line, "the crate under its own name");
                i + 3
            }
            (TokenTree::Ident(word), ..) if word == "crate" && is_double_colon(trees, i + 1) => {
                self.path(trees, i + 3, Vec::new())
            }
            (TokenTree::Ident(word), ..) if word == "super" && is_double_colon(trees, i + 1) => {
                self.path(trees, i, module.to_vec())
            }
            (TokenTree::Group(group), ..) => {
                self.walk(group.stream(), module);
                i + 1
            }
            _ => i + 1,
        }
    }

    /// Reads a path, or a tree of them as `use` takes it, that starts at `i` and is relative to `base`.
    fn path(&mut self, trees: &[TokenTree], mut i: usize, mut base: Vec<String>) -> usize {
        let Some(line) = trees.get(i).map(|first| first.span().start().line) else { return i };
        loop {
            match trees.get(i) {
                Some(TokenTree::Ident(name)) if name == "self" => {}
                Some(TokenTree::Ident(name)) if name == "super" => {
                    base.pop();
                }
                Some(TokenTree::Ident(name)) => base.push(name.to_string()),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => base.push("*".to_owned()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    for part in inner.split(|tree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ',')) {
                        self.path(part, 0, base.clone());
                    }
                    return i + 1;
                }
                // The `<` of a turbofish.
                _ => break,
            }
            i += 1;
            if !is_double_colon(trees, i) {
                break;
            }
            i += 2;
        }
        self.edges.push(Edge { line, to: base });
        i
    }

    /// Attributes hold tokens, and serde's also paths as text.
    fn attribute(&mut self, attribute: &Group, module: &[String]) {
        self.walk(attribute.stream(), module);
        let trees: Vec<_> = attribute.stream().into_iter().collect();
        if let [TokenTree::Ident(name), TokenTree::Group(arguments)] = &trees[..]
            && name == "serde"
        {
            for tree in arguments.stream() {
                if let TokenTree::Literal(text) = tree
                    && let Ok(path) = TokenStream::from_str(text.to_string().trim_matches('"'))
                {
                    self.walk(path, module);
                }
            }
        }
    }

    fn wrong(&mut self, line: usize, what: &str) {
        self.wrong.push(format!("{}:{line}: {what}", self.file));
    }
}

/// The brackets of an attribute that starts at `i`.
pub(super) fn attribute(trees: &[TokenTree], i: usize) -> Option<&Group> {
    match (trees.get(i), trees.get(i + 1)) {
        (Some(TokenTree::Punct(hash)), Some(TokenTree::Group(group)))
            if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group)
        }
        _ => None,
    }
}

/// Whether an attribute is `cfg(test)` or `cfg(all(.., test, ..))`.
pub(super) fn is_test_only(attribute: &Group) -> bool {
    let holds = |condition: &Group| condition.stream().into_iter().any(|tree| is_word(Some(&tree), "test"));
    let trees: Vec<_> = attribute.stream().into_iter().collect();
    let [TokenTree::Ident(cfg), TokenTree::Group(condition)] = &trees[..] else { return false };
    let inner: Vec<_> = condition.stream().into_iter().collect();
    cfg == "cfg"
        && match &inner[..] {
            [TokenTree::Ident(word), TokenTree::Group(all)] => word == "all" && holds(all),
            _ => holds(condition),
        }
}

/// Where the item ends whose first attribute stands at `i`.
pub(super) fn end_of_item(trees: &[TokenTree], mut i: usize) -> usize {
    const ITEMS: &[&str] = &[
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "type",
        "unsafe",
    ];
    while attribute(trees, i).is_some() {
        i += 2;
    }
    if is_word(trees.get(i), "pub") {
        i += 1;
        if matches!(trees.get(i), Some(TokenTree::Group(scope)) if scope.delimiter() == Delimiter::Parenthesis) {
            i += 1;
        }
    }
    // An import's braces do not end it, and only an item's own commas do not.
    let import = is_word(trees.get(i), "use");
    let item = import || ITEMS.iter().any(|word| is_word(trees.get(i), word));
    while let Some(tree) = trees.get(i) {
        i += 1;
        match tree {
            TokenTree::Punct(p) if p.as_char() == ';' || (p.as_char() == ',' && !item) => break,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace && !import => break,
            _ => {}
        }
    }
    i
}

pub(super) fn is_word(tree: Option<&TokenTree>, word: &str) -> bool {
    matches!(tree, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_double_colon(trees: &[TokenTree], i: usize) -> bool {
    let colon = |at: usize| matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(i) && colon(i + 1)
}
