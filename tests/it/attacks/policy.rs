//! Policies that somebody who may write the file would try, or writes by mistake.

use tower_ward::access::{MAX_POLICY_BYTES, PermissionInfo, Policy, PolicyError};

tower_ward::classes! { Clinical = "clinical"; Schedule = "schedule"; }
tower_ward::permissions! {
    ReadNotes = "notes.read" opens Clinical;
    ReadDiary = "diary.read" opens Clinical, Schedule;
    ReadSelf = "account.read";
}

fn asked() -> [PermissionInfo; 3] {
    [PermissionInfo::of::<ReadNotes>(), PermissionInfo::of::<ReadDiary>(), PermissionInfo::of::<ReadSelf>()]
}

/// What is wrong with a text, in a word: where it was found out, and what as.
fn fate(text: &str) -> &'static str {
    let policy = match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => return word(&error),
    };
    policy.check(&asked(), &[]).map_or_else(|error| word(&error), |()| "good")
}

fn word(error: &PolicyError) -> &'static str {
    match error {
        PolicyError::Syntax(_) => "syntax",
        PolicyError::Name(_) => "name",
        PolicyError::Relation { .. } => "relation",
        PolicyError::Empty => "empty",
        PolicyError::Ceiling { .. } => "ceiling",
        PolicyError::Unused { .. } => "unused",
        PolicyError::Twins(_) => "twins",
        _ => "another",
    }
}

/// A role `desk` whose ceiling allows everything, with this among its grants.
fn grant(line: &str) -> String {
    format!("[roles.desk]\nceiling = ['clinical', 'schedule']\n[roles.desk.grants]\n{line}\n")
}

#[test]
fn a_policy_that_says_anything_but_what_is_meant_is_refused() {
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let long = "a".repeat(65);
    let rows = [
        ("good", grant("'notes.read' = 'clinic'"), "good"),
        // Nothing, and other shapes.
        ("empty", String::new(), "syntax"),
        ("white space alone", " \n\t\n".to_owned(), "syntax"),
        ("a comment alone", "# [roles.desk]".to_owned(), "syntax"),
        ("no role", "[roles]".to_owned(), "empty"),
        ("roles a text", "roles = 'desk'".to_owned(), "syntax"),
        ("roles a list", "roles = ['desk']".to_owned(), "syntax"),
        ("roles a list of tables", "[[roles]]\nname = 'desk'".to_owned(), "syntax"),
        ("a role that is a text", "[roles]\ndesk = 'clinic'".to_owned(), "syntax"),
        ("YAML", "roles:\n  desk:\n    grants: {}".to_owned(), "syntax"),
        ("JSON", "{\"roles\":{\"desk\":{}}}".to_owned(), "syntax"),
        ("cut within a table", "[roles.des".to_owned(), "syntax"),
        ("cut within a text", "[roles.desk]\nceiling = ['clin".to_owned(), "syntax"),
        // Members that there are not.
        ("an unknown member beside the roles", "default = 'clinic'\n[roles.desk]".to_owned(), "syntax"),
        ("an unknown table", "[roles.desk]\n[defaults]".to_owned(), "syntax"),
        ("an unknown member of a role", "[roles.desk]\ndeny = []".to_owned(), "syntax"),
        ("a role that inherits", "[roles.desk]\nextends = 'owner'".to_owned(), "syntax"),
        ("a role that is all", "[roles.desk]\nadmin = true".to_owned(), "syntax"),
        ("grants in the singular", "[roles.desk.grant]\n'notes.read' = 'clinic'".to_owned(), "syntax"),
        ("another case of a member", "[roles.desk]\nCeiling = []".to_owned(), "syntax"),
        // Twice.
        ("a role twice", "[roles.desk]\n[roles.desk]".to_owned(), "syntax"),
        ("a role twice, quoted once", "[roles.desk]\n[roles.'desk']".to_owned(), "syntax"),
        ("a role twice, with an escape", "[roles.desk]\n[roles.\"\\u0064esk\"]".to_owned(), "syntax"),
        ("a ceiling twice", "[roles.desk]\nceiling = []\nceiling = ['clinical']".to_owned(), "syntax"),
        ("grants twice", "[roles.desk.grants]\n[roles.desk.grants]".to_owned(), "syntax"),
        ("a grant twice", grant("'notes.read' = 'own'\n'notes.read' = 'clinic'"), "syntax"),
        ("a grant twice, with an escape", grant("'notes.read' = 'own'\n\"\\u006eotes.read\" = 'clinic'"), "syntax"),
        ("a grant with its dot unquoted", grant("notes.read = 'clinic'"), "syntax"),
        // Types.
        ("a ceiling that is a text", "[roles.desk]\nceiling = 'clinical'".to_owned(), "syntax"),
        ("a ceiling that is true", "[roles.desk]\nceiling = true".to_owned(), "syntax"),
        ("a ceiling of numbers", "[roles.desk]\nceiling = [1]".to_owned(), "syntax"),
        ("a ceiling of lists", "[roles.desk]\nceiling = [['clinical']]".to_owned(), "syntax"),
        ("a grant that is true", grant("'notes.read' = true"), "syntax"),
        ("a grant that is a number", grant("'notes.read' = 15"), "syntax"),
        ("a grant that is a table", grant("'notes.read' = { clinic = true }"), "syntax"),
        ("a grant of lists", grant("'notes.read' = [['clinic']]"), "syntax"),
        ("a grant that is a date", grant("'notes.read' = 2026-01-01"), "syntax"),
        // Relations.
        ("no relation", grant("'notes.read' = []"), "relation"),
        ("an empty relation", grant("'notes.read' = ''"), "relation"),
        ("an unknown relation", grant("'notes.read' = 'everyone'"), "relation"),
        ("an unknown relation among good ones", grant("'notes.read' = ['own', 'everyone']"), "relation"),
        ("relations in one text", grant("'notes.read' = 'own,clinic'"), "relation"),
        ("a relation in another case", grant("'notes.read' = 'Clinic'"), "relation"),
        ("a relation with a space", grant("'notes.read' = ' clinic'"), "relation"),
        ("a relation with a line end", grant("'notes.read' = \"clinic\\n\""), "relation"),
        ("a relation with a NUL", grant("'notes.read' = \"clinic\\u0000\""), "relation"),
        ("every relation", grant("'notes.read' = '*'"), "relation"),
        ("a negated relation", grant("'notes.read' = '!own'"), "relation"),
        ("a relation of another alphabet", grant("'notes.read' = '\u{441}linic'"), "relation"),
        ("a relation in full width", grant("'notes.read' = '\u{ff43}linic'"), "relation"),
        // Wildcards and names.
        ("every permission", grant("'*' = 'clinic'"), "name"),
        ("every permission on notes", grant("'notes.*' = 'clinic'"), "name"),
        ("reading everything", grant("'*.read' = 'clinic'"), "name"),
        ("a pattern", grant("'notes.r?ad' = 'clinic'"), "name"),
        ("a regular expression", grant("'^.+$' = 'clinic'"), "name"),
        ("the word for all", grant("'all' = 'clinic'"), "unused"),
        ("a default", grant("'default' = 'clinic'"), "unused"),
        ("the start of a permission", grant("'notes' = 'clinic'"), "unused"),
        ("a permission that is misspelt", grant("'notes.raed' = 'clinic'"), "unused"),
        ("an empty permission", grant("'' = 'clinic'"), "name"),
        ("a permission of one dot", grant("'.' = 'clinic'"), "name"),
        ("a dot last", grant("'notes.' = 'clinic'"), "name"),
        ("a dot first", grant("'.read' = 'clinic'"), "name"),
        ("two dots", grant("'notes..read' = 'clinic'"), "name"),
        ("four words", grant("'a.b.c.d' = 'clinic'"), "name"),
        ("65 bytes", grant(&format!("{long} = 'clinic'")), "name"),
        ("a permission in capitals", grant("'NOTES.READ' = 'clinic'"), "name"),
        ("a permission with a space", grant("'notes.read ' = 'clinic'"), "name"),
        ("a permission with a NUL", grant("\"notes.read\\u0000\" = 'clinic'"), "name"),
        ("a Cyrillic o", grant("'n\u{43e}tes.read' = 'clinic'"), "name"),
        ("a zero-width space", grant("'notes\u{200b}.read' = 'clinic'"), "name"),
        ("a right-to-left override", grant("'\u{202e}notes.read' = 'clinic'"), "name"),
        ("a role in capitals", "[roles.Desk]".to_owned(), "name"),
        ("a role without a name", "[roles.'']".to_owned(), "name"),
        ("a role for everybody", "[roles.'*']".to_owned(), "name"),
        ("a role with a Cyrillic e", "[roles.'d\u{435}sk']".to_owned(), "name"),
        ("a role of 65 bytes", format!("[roles.{long}]"), "name"),
        ("a class for everything", "[roles.desk]\nceiling = ['*']".to_owned(), "name"),
        ("a class of another alphabet", "[roles.desk]\nceiling = ['cl\u{456}nical']".to_owned(), "name"),
        ("an empty class", "[roles.desk]\nceiling = ['']".to_owned(), "name"),
        // Ceilings.
        ("no ceiling", "[roles.desk.grants]\n'notes.read' = 'own'".to_owned(), "ceiling"),
        ("an empty ceiling", "[roles.desk]\nceiling = []\ngrants.'notes.read' = 'own'".to_owned(), "ceiling"),
        ("another class", "[roles.desk]\nceiling = ['schedule']\ngrants.'notes.read' = 'own'".to_owned(), "ceiling"),
        ("one class of two", "[roles.desk]\nceiling = ['clinical']\ngrants.'diary.read' = 'own'".to_owned(), "ceiling"),
        ("a class misspelt", "[roles.desk]\nceiling = ['clincal']\ngrants.'notes.read' = 'own'".to_owned(), "ceiling"),
        (
            "a ceiling of another role",
            "[roles.a]\nceiling = ['clinical']\n[roles.desk]\ngrants.'notes.read' = 'own'".to_owned(),
            "ceiling",
        ),
        ("what opens nothing needs no ceiling", "[roles.desk]\ngrants.'account.read' = 'clinic'".to_owned(), "good"),
        // Bytes.
        ("a byte order mark within", format!("\n\u{feff}{}", grant("'notes.read' = 'own'")), "syntax"),
        ("NUL", format!("{}\0", grant("")), "syntax"),
        ("a bare carriage return", "[roles.desk]\rceiling = []".to_owned(), "syntax"),
        ("an escape sequence", "[roles.desk]\n\u{1b}[2Jceiling = []".to_owned(), "syntax"),
        ("one byte too long", format!("[roles.desk]{}", " ".repeat(MAX_POLICY_BYTES - 11)), "syntax"),
        ("two megabytes", grant(&"# comment\n".repeat(200_000)), "syntax"),
        ("50,000 brackets", format!("[roles.desk]\nceiling = {}", deep("[", "]", 50_000)), "syntax"),
        ("50,000 brackets, left open", format!("[roles.desk]\nceiling = {}", "[".repeat(50_000)), "syntax"),
        ("tables 30,000 deep", format!("[roles.desk]\ngrants = {}", deep("{a=", "}", 30_000)), "syntax"),
        ("a key of 50,000 words", format!("[roles.desk]\n{}a = 1", "a.".repeat(50_000)), "syntax"),
        ("a table of 50,000 words", format!("[{}a]", "a.".repeat(50_000)), "syntax"),
    ];
    for (name, text, want) in &rows {
        assert_eq!(fate(text), *want, "{name}");
    }
    println!("policy: {} rows", rows.len());
}

/// An error is printed where the server starts, next to nothing secret: but it must not fill the screen.
#[test]
fn an_error_names_the_place_and_is_short() {
    for text in [
        grant(&format!("'{}' = 'clinic'", "b".repeat(100_000))),
        format!("[roles.'{}']", "\u{e9}".repeat(50_000)),
        grant("'notes.read' = 'everyone'"),
        format!("[roles.desk]\nceiling = {}", "[".repeat(50_000)),
        format!("[roles.desk]\n{} = 1", "a".repeat(100_000)),
    ] {
        let error = Policy::from_toml(&text).unwrap_err().to_string();
        let start: String = text.chars().take(60).collect();
        assert!(error.len() < 1_000, "{} bytes for {start}", error.len());
    }
}
