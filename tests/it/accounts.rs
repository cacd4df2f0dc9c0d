//! Accounts are administered through a door, by who was granted it.

use std::sync::{Arc, Mutex};

use tower_ward::{
    access::{ClinicGrant, Grant, ManagesAccounts},
    audit::{Action, Kind},
    axum::Json,
    identity::{AccountError, Fault, Identity, NewAccount},
    problem::Problem,
};

use crate::support::{Bench, Setup, User, get, model::POLICY, of_kind, post};

tower_ward::permissions! { ManageAccounts = "accounts.manage"; }
impl ManagesAccounts for ManageAccounts {}

/// A bench whose owner may administer accounts, and whose doctor may do so for nobody in particular.
async fn bench() -> Bench {
    let grants = |relation: &str| format!("grants.\"staff.keep\" = \"{relation}\"\n");
    let policy = ["clinic", "assigned"].into_iter().fold(POLICY.to_owned(), |policy, relation| {
        let more = format!("{}grants.\"accounts.manage\" = \"{relation}\"\n", grants(relation));
        policy.replacen(&grants(relation), &more, 1)
    });
    Bench::with(Setup { policy, ..Setup::default() }).await
}

async fn names(grant: Grant<ManageAccounts>, identity: Identity) -> Result<Json<usize>, Problem> {
    let clinic = grant.clinic().await?;
    let accounts = clinic.accounts(&identity).list(None, 100).await?;
    Ok(Json(accounts.len()))
}

#[tokio::test]
async fn a_list_of_accounts_is_recorded() {
    let bench = bench().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let _herself = bench.user_who_is(&bench.harbour, "patient", Some(ada)).await;
    let _neighbour = bench.user(&bench.meadow, "owner").await;
    let identity = bench.ward.identity().clone();
    let service = bench.serve(|router| router.get("/accounts", move |grant| names(grant, identity.clone())));
    let (reply, records) = bench.records_of(get(&service, &owner, "/accounts")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "2"));
    let lists: Vec<_> =
        of_kind(&records, Kind::Opened).into_iter().filter(|r| r.action() == Some(Action::Search)).collect();
    assert_eq!(lists.len(), 1, "{records:?}");
    assert_eq!((lists[0].permission(), lists[0].entity()), (Some("accounts.manage"), Some("accounts")));
    assert_eq!((lists[0].user(), lists[0].subjects(), lists[0].why()), (Some(owner.id), &[ada][..], Some("clinic")));
}

#[tokio::test]
async fn accounts_are_for_who_was_granted_them_for_the_whole_clinic() {
    let bench = bench().await;
    let (doctor, desk) = (bench.user(&bench.harbour, "doctor").await, bench.user(&bench.harbour, "receptionist").await);
    let identity = bench.ward.identity().clone();
    let service = bench.serve(|router| router.get("/accounts", move |grant| names(grant, identity.clone())));
    for user in [&doctor, &desk] {
        get(&service, user, "/accounts").await.is_problem(403);
    }
}

#[tokio::test]
async fn accounts_are_made_changed_and_removed_through_the_door_in_its_own_clinic() {
    let bench = bench().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (doctor, foreign) = (bench.user(&bench.harbour, "doctor").await, bench.user(&bench.meadow, "doctor").await);
    let identity = bench.ward.identity().clone();
    let service = bench.serve(|router| {
        router.post("/accounts", move |grant: Grant<ManageAccounts>| {
            let (identity, user, foreign) = (identity.clone(), doctor.id, foreign.id);
            async move {
                let clinic = grant.clinic().await?;
                let accounts = clinic.accounts(&identity);
                let new = NewAccount::new("new.nurse", "correct horse battery staple".into(), "intern");
                let made = accounts.create(new).await.expect("made");
                accounts.set_role(made, "doctor").await.expect("raised");
                accounts.set_password(made, "a horse that is not correct".into()).await.expect("changed");
                accounts.set_disabled(made, true).await.expect("disabled");
                accounts.end_sessions(user).await.expect("ended");
                accounts.remove(made).await.expect("removed");
                let other = accounts.set_role(foreign, "owner").await;
                assert!(matches!(other, Err(AccountError::Unknown)), "{other:?}");
                Ok::<_, Problem>("done")
            }
        })
    });
    let (reply, records) = bench.records_of(post(&service, &owner, "/accounts", "{}")).await;
    assert_eq!(reply.body, "done");
    let reasons: Vec<_> = of_kind(&records, Kind::Event).into_iter().filter_map(|r| r.reason()).collect();
    let all = ["account_created", "role_changed", "password_changed", "account_disabled", "sessions_ended"];
    for reason in all.into_iter().chain(["account_removed"]) {
        assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
    }
}

#[tokio::test]
async fn a_change_of_an_account_that_cannot_be_is_a_problem_of_its_kind() {
    let bench = bench().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let foreign = bench.user(&bench.meadow, "doctor").await;
    for (name, password, status) in [
        ("user-0", "correct horse battery staple", 409),
        ("Not A Name", "correct horse battery staple", 422),
        ("nurse", "short", 422),
        ("", "", 404),
    ] {
        let (identity, user) = (bench.ward.identity().clone(), foreign.id);
        let service = bench.serve(|router| {
            router.post("/accounts", move |grant: Grant<ManageAccounts>| {
                let identity = identity.clone();
                async move {
                    let clinic = grant.clinic().await?;
                    if name.is_empty() {
                        clinic.accounts(&identity).remove(user).await?;
                    } else {
                        clinic.accounts(&identity).create(NewAccount::new(name, password.into(), "intern")).await?;
                    }
                    Ok::<_, Problem>("done")
                }
            })
        });
        post(&service, &owner, "/accounts", "{}").await.is_problem(status);
    }
}

#[tokio::test]
async fn accounts_smuggled_out_of_a_request_change_nothing() {
    let bench = bench().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let doctor: User = bench.user(&bench.harbour, "doctor").await;
    let stash: Arc<Mutex<Option<ClinicGrant<ManageAccounts>>>> = Arc::default();
    let kept = Arc::clone(&stash);
    let service = bench.serve(|router| {
        router.get("/accounts", move |grant: Grant<ManageAccounts>| {
            let kept = Arc::clone(&kept);
            async move {
                *kept.lock().unwrap() = Some(grant.clinic().await?);
                Ok::<_, Problem>("kept")
            }
        })
    });
    assert_eq!(get(&service, &owner, "/accounts").await.body, "kept");
    let clinic = stash.lock().unwrap().take().expect("kept");
    let accounts = clinic.accounts(bench.ward.identity());
    let (_, records) = bench
        .records_of(async {
            let new = NewAccount::new("late", "correct horse battery staple".into(), "owner");
            let closed = |result: Result<(), AccountError>| {
                assert!(matches!(result, Err(AccountError::Fault(Fault::Ledger(_)))), "{result:?}");
            };
            closed(accounts.create(new).await.map(drop));
            closed(accounts.list(None, 10).await.map(drop));
            closed(accounts.set_role(doctor.id, "owner").await);
            closed(accounts.set_password(doctor.id, "another horse entirely".into()).await);
            closed(accounts.set_disabled(doctor.id, true).await);
            closed(accounts.end_sessions(doctor.id).await);
            closed(accounts.remove(doctor.id).await);
        })
        .await;
    assert!(records.is_empty(), "{records:?}");
    let mut all = bench.ward.identity().danger_accounts(&bench.harbour, None, 10).await.expect("listed");
    let found = all.extract_if(.., |account| account.user() == doctor.id).next().expect("still there");
    assert_eq!((found.role(), found.is_disabled(), all.len()), ("doctor", false, 1));
    bench.ward.identity().verify(&doctor.token).expect("the session goes on");
}
