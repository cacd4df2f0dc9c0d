//! Programs that must not compile, each beside the message that its author will read.

// proves CLA-22: a permission that does not open a data class cannot open its columns.
// proves CLM-04: an opened value has no `Display` and no `Serialize`.
#[test]
fn wrong_programs_do_not_compile_and_say_why() {
    let cases = trybuild::TestCases::new();
    // A right program beside the wrong ones; it also makes the wrong ones be built and not only checked, which is when the
    // assertions that stand behind a hand-written `impl` run.
    cases.pass("tests/ui/**/good_*.rs");
    cases.compile_fail("tests/ui/**/bad_*.rs");
}
