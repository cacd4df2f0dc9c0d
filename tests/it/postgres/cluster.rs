//! A real PostgreSQL server, empty, in a folder of its own: the library's, in the words of its own tests.

use std::{ops::Deref, path::Path};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tower_ward::testing::PostgresServer;

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster(PostgresServer);

impl Deref for Cluster {
    type Target = PostgresServer;

    fn deref(&self) -> &PostgresServer {
        &self.0
    }
}

impl Cluster {
    /// With two roles: `keeper`, who may make schemas, and `writer`, who may log in. The settings are lines of its configuration.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let server = Self(PostgresServer::start(settings).unwrap());
        server.sql("create role writer login; create role keeper login; grant create on database postgres to keeper");
        server
    }

    /// One on a copy of what [`save`](Self::save) put aside.
    pub(crate) fn start_from(saved: &Path) -> Self {
        Self(PostgresServer::start_from(saved, &[]).unwrap())
    }

    /// Stops it, and puts a copy of its files aside.
    pub(crate) fn save(self, to: &Path) {
        self.0.save(to).unwrap();
    }

    /// Starts it.
    pub(crate) fn up(&self) {
        self.0.up().unwrap();
    }

    /// As when the machine's power is cut, without the disk.
    pub(crate) fn down(&self) {
        self.0.down().unwrap();
    }

    /// How a role reaches it.
    pub(crate) fn url(&self, role: &str) -> String {
        self.url_of(role, "postgres")
    }

    /// How a role reaches a database of it.
    pub(crate) fn url_of(&self, role: &str, database: &str) -> String {
        self.0.url(role, database)
    }

    /// Does something as the superuser.
    pub(crate) fn owner<F: Future<Output = T> + Send, T: Send>(
        &self,
        work: impl FnOnce(PgConnection) -> F + Send,
    ) -> T {
        self.as_role("postgres", work)
    }

    /// Does something as a role.
    pub(crate) fn as_role<F: Future<Output = T> + Send, T: Send>(
        &self,
        role: &str,
        work: impl FnOnce(PgConnection) -> F + Send,
    ) -> T {
        let url = self.url(role);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { work(PgConnection::connect(&url).await.unwrap()).await })
            });
            thread.join().unwrap()
        })
    }

    /// Runs statements as the superuser.
    pub(crate) fn sql(&self, statements: &str) {
        self.run_as("postgres", statements);
    }

    /// Runs statements as a role.
    pub(crate) fn run_as(&self, role: &str, statements: &str) {
        let statements = statements.to_owned();
        self.as_role(role, |mut conn| async move {
            conn.execute(sqlx::AssertSqlSafe(statements)).await.unwrap();
        });
    }
}
