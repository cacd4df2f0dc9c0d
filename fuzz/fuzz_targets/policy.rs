//! A policy that is read grants only what it says: names have one spelling, and what it does not name it refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_ward::access::{MAX_POLICY_BYTES, Policy};

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::from_toml(text) else { return };
    assert!(text.len() <= MAX_POLICY_BYTES);
    let roles: Vec<_> = policy.roles().collect();
    assert!(!roles.is_empty() && roles.is_sorted());
    for role in &roles {
        assert!(policy.has_role(role));
        assert!((1..=64).contains(&role.len()));
        assert!(role.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.')));
        for unnamed in ["", "*", "no.such.permission.at_all"] {
            assert!(policy.relations(role, unnamed).is_empty());
        }
    }
    for stranger in ["", "*", "No Such Role"] {
        assert!(!policy.has_role(stranger));
        assert!(policy.relations(stranger, "notes.read").is_empty());
    }

    // There is no printer. The shortest policy of what was read here says the same about the permission of the seeds.
    let mut printed = String::from("[roles]\n");
    for role in &roles {
        let held: Vec<_> = policy.relations(role, "notes.read").names().collect();
        printed.push_str(&format!("[roles.'{role}']\n"));
        if !held.is_empty() {
            printed.push_str(&format!("grants.'notes.read' = {held:?}\n"));
        }
    }
    let again = Policy::from_toml(&printed).expect("what was printed parses");
    assert!(again.roles().eq(policy.roles()));
    for role in roles {
        assert_eq!(again.relations(role, "notes.read"), policy.relations(role, "notes.read"));
    }
});
