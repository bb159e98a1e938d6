//! `test-host up`: serves the application of a `spin.toml` with the flags of `spin up` that matter.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser};
use test_host::engine::variables_from_environment;
use test_host::manifest::{DatabaseLocation, database_location};
use test_host::sqlite::Database;
use test_host::{App, Server, Settings};

/// Runs a Spin application where Spin is not installed; for tests and a first look, not for production.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Serves the application until interrupted.
    Up(Up),
}

#[derive(Args)]
struct Up {
    /// The application's manifest.
    #[arg(short, long, default_value = "spin.toml")]
    from: PathBuf,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// SQL to run before serving: one statement, or @FILE for any number.
    #[arg(long, value_name = "STATEMENT|@FILE")]
    sqlite: Vec<String>,
    /// Moves the database: [sqlite_database.default] with type = "spin" and path, or with type = "libsql", url and
    /// token; or state_dir.
    #[arg(long, env = "RUNTIME_CONFIG_FILE")]
    runtime_config_file: Option<PathBuf>,
    /// The folder of the database `sqlite_db.db`; by default `.spin` beside the manifest.
    #[arg(long)]
    state_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Command::Up(up): Command) -> Result<()> {
    let config = up.runtime_config_file.as_deref();
    let database = match database_location(&up.from, up.state_dir, config)? {
        DatabaseLocation::Libsql { url, token } => Database::on_server(&url, &token)?,
        DatabaseLocation::File { path } => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
            }
            Database::new(path)
        }
    };
    for statement in &up.sqlite {
        execute(&database, statement)?;
    }
    let settings = Settings {
        listen: up.listen,
        database,
        variables: variables_from_environment(),
        log: None,
    };
    let app = App::load(&up.from)?;
    let (name, _) = app.manifest.component()?;
    let name = name.to_owned();
    let server = Server::start(app, settings)?;
    println!("Serving http://{}", server.address());
    println!(
        "Available Routes:\n  {name}: http://{} (wildcard)",
        server.address()
    );
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(interrupted())
}

fn execute(database: &Database, statement: &str) -> Result<()> {
    let executed = match statement.strip_prefix('@') {
        Some(file) => {
            // Spin takes @FILE:LABEL; the test host has the one label.
            let file = file.strip_suffix(":default").unwrap_or(file);
            let sql =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            database.execute_batch(&sql)
        }
        None => database.execute(statement),
    };
    executed.with_context(|| format!("--sqlite {statement}"))
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() -> Result<()> {
    #[cfg(unix)]
    {
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupt = tokio::signal::ctrl_c() => interrupt?,
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
