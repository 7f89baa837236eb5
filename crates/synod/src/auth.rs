//! `synod auth`, `synod user`, `synod role`: who may do what.

use std::io::{self, BufRead, Write};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use synod_client::Client;
use synod_etcd::proto::authpb::permission::Type;
use synod_etcd::proto::authpb::{Permission, UserAddOptions};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;

use crate::cli::{ClientArgs, Output};
use crate::keys::KeysArgs;
use crate::{client, json, text};

/// `synod auth`
#[derive(Args, Debug)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum AuthCommand {
    /// Ask everybody who they are. Needs a user root that has the role root.
    Enable,
    /// Ask nobody.
    Disable,
    /// Say whether it is enabled.
    Status,
}

/// `synod user`
#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user; the password is NAME:PASSWORD's, or the first line of standard input.
    Add {
        name: String,
        /// One that only a certificate identifies.
        #[arg(long)]
        no_password: bool,
    },
    /// Delete a user.
    Delete { name: String },
    /// List the roles of a user.
    Get { name: String },
    /// List the users.
    List,
    /// Change the password to the first line of standard input.
    Passwd { name: String },
    /// Give a user a role.
    GrantRole { name: String, role: String },
    /// Take a role from a user.
    RevokeRole { name: String, role: String },
}

/// `synod role`
#[derive(Args, Debug)]
pub(crate) struct RoleArgs {
    #[command(subcommand)]
    command: RoleCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum RoleCommand {
    /// Add a role.
    Add { role: String },
    /// Delete a role.
    Delete { role: String },
    /// List what a role may.
    Get { role: String },
    /// List the roles.
    List,
    /// Allow a role to read or write keys.
    GrantPermission {
        role: String,
        #[arg(value_enum, ignore_case = true)]
        kind: Kind,
        #[command(flatten)]
        keys: KeysArgs,
    },
    /// Take that back.
    RevokePermission {
        role: String,
        #[command(flatten)]
        keys: KeysArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Read,
    Write,
    Readwrite,
}

/// Sends one request of the service, and takes its answer.
macro_rules! call {
    ($client:ident.$kind:ident: $method:ident($request:expr)) => {{
        let request = $request;
        let asked = $client.$kind(|service| {
            let request = request.clone();
            async move { AuthClient::new(service).$method(request).await }
        });
        asked.await?
    }};
}

/// Says what was done.
macro_rules! say {
    ($output:ident, $answer:ident, $($line:tt)*) => {
        $output.say(&format!($($line)*), || json::headed($answer.header.as_ref(), []))
    };
}

/// Runs `synod auth`.
pub(crate) fn auth(args: &AuthArgs) -> anyhow::Result<()> {
    let output = args.client.output;
    client::ask(&args.client, async |client| match args.command {
        AuthCommand::Enable => {
            let answer = call!(client.write: auth_enable(pb::AuthEnableRequest {}));
            say!(output, answer, "Authentication Enabled")
        }
        AuthCommand::Disable => {
            let answer = call!(client.write: auth_disable(pb::AuthDisableRequest {}));
            say!(output, answer, "Authentication Disabled")
        }
        AuthCommand::Status => {
            let answer = call!(client.read: auth_status(pb::AuthStatusRequest {}));
            let pb::AuthStatusResponse { header, enabled, auth_revision } = answer;
            let lines = format!("Authentication Status: {enabled}\nAuthRevision: {auth_revision}");
            let fields = [("enabled", json!(enabled)), ("authRevision", json!(auth_revision))];
            output.say(&lines, || json::headed(header.as_ref(), fields))
        }
    })
}

/// Runs `synod user`.
pub(crate) fn user(args: UserArgs) -> anyhow::Result<()> {
    let output = args.client.output;
    client::ask(&args.client, async |client| user_command(client, args.command, output).await)
}

async fn user_command(client: &Client, command: UserCommand, output: Output) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, no_password } => {
            let request = add(name, no_password)?;
            let name = request.name.clone();
            let answer = call!(client.write: user_add(request));
            say!(output, answer, "User {name} created")
        }
        UserCommand::Delete { name } => {
            let answer =
                call!(client.write: user_delete(pb::AuthUserDeleteRequest { name: name.clone() }));
            say!(output, answer, "User {name} deleted")
        }
        UserCommand::Get { name } => {
            let answer =
                call!(client.read: user_get(pb::AuthUserGetRequest { name: name.clone() }));
            let lines = format!("User: {name}\nRoles: {}", answer.roles.join(" "));
            let fields = [("roles", json!(answer.roles))];
            output.say(&lines, || json::headed(answer.header.as_ref(), fields))
        }
        UserCommand::List => {
            let answer = call!(client.read: user_list(pb::AuthUserListRequest {}));
            let fields = [("users", json!(answer.users))];
            list(output, &answer.users, || json::headed(answer.header.as_ref(), fields))
        }
        UserCommand::Passwd { name } => {
            let (password, hashed_password) = (password()?, String::new());
            let request = pb::AuthUserChangePasswordRequest { name, password, hashed_password };
            let answer = call!(client.write: user_change_password(request));
            say!(output, answer, "Password updated")
        }
        UserCommand::GrantRole { name: user, role } => {
            let (who, what) = (user.clone(), role.clone());
            let answer =
                call!(client.write: user_grant_role(pb::AuthUserGrantRoleRequest { user, role }));
            say!(output, answer, "Role {what} is granted to user {who}")
        }
        UserCommand::RevokeRole { name, role } => {
            let (who, what) = (name.clone(), role.clone());
            let answer =
                call!(client.write: user_revoke_role(pb::AuthUserRevokeRoleRequest { name, role }));
            say!(output, answer, "Role {what} is revoked from user {who}")
        }
    }
}

/// One a line.
fn list(output: Output, names: &[String], answer: impl FnOnce() -> Value) -> anyhow::Result<()> {
    match output {
        Output::Simple => {
            text::print(|out| names.iter().try_for_each(|name| writeln!(out, "{name}")))
        }
        Output::Json => json::print(&answer()),
    }
}

fn add(name: String, no_password: bool) -> anyhow::Result<pb::AuthUserAddRequest> {
    let (name, password) = match name.split_once(':') {
        _ if no_password => (name, String::new()),
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None => (name, password()?),
    };
    let options = Some(UserAddOptions { no_password });
    Ok(pb::AuthUserAddRequest { name, password, options, ..Default::default() })
}

fn password() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Runs `synod role`.
pub(crate) fn role(args: RoleArgs) -> anyhow::Result<()> {
    let output = args.client.output;
    client::ask(&args.client, async |client| role_command(client, args.command, output).await)
}

async fn role_command(client: &Client, command: RoleCommand, output: Output) -> anyhow::Result<()> {
    match command {
        RoleCommand::Add { role: name } => {
            let answer =
                call!(client.write: role_add(pb::AuthRoleAddRequest { name: name.clone() }));
            say!(output, answer, "Role {name} created")
        }
        RoleCommand::Delete { role } => {
            let answer =
                call!(client.write: role_delete(pb::AuthRoleDeleteRequest { role: role.clone() }));
            say!(output, answer, "Role {role} deleted")
        }
        RoleCommand::Get { role } => {
            let answer =
                call!(client.read: role_get(pb::AuthRoleGetRequest { role: role.clone() }));
            let fields = [("perm", json::permissions(&answer.perm))];
            output.say(&role_lines(&role, &answer.perm), || {
                json::headed(answer.header.as_ref(), fields)
            })
        }
        RoleCommand::List => {
            let answer = call!(client.read: role_list(pb::AuthRoleListRequest {}));
            let fields = [("roles", json!(answer.roles))];
            list(output, &answer.roles, || json::headed(answer.header.as_ref(), fields))
        }
        RoleCommand::GrantPermission { role: name, kind, keys } => {
            let (key, range_end) = keys.wire()?;
            let kind = match kind {
                Kind::Read => Type::Read,
                Kind::Write => Type::Write,
                Kind::Readwrite => Type::Readwrite,
            };
            let perm = Some(Permission { perm_type: kind.into(), key, range_end });
            let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
            let answer = call!(client.write: role_grant_permission(request));
            say!(output, answer, "Role {name} updated")
        }
        RoleCommand::RevokePermission { role, keys } => {
            let (key, range_end) = keys.wire()?;
            let revoked = range(&key, &range_end);
            let name = role.clone();
            let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
            let answer = call!(client.write: role_revoke_permission(request));
            say!(output, answer, "Permission of range {revoked} is revoked from role {name}")
        }
    }
}

fn role_lines(role: &str, permissions: &[Permission]) -> String {
    let mut lines = format!("Role {role}");
    for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
        lines = format!("{lines}\n{title}");
        let may = |perm: &&Permission| [kind, Type::Readwrite].contains(&perm.perm_type());
        for perm in permissions.iter().filter(may) {
            lines = format!("{lines}\n\t{}", range(&perm.key, &perm.range_end));
        }
    }
    lines
}

/// A range of keys for people.
fn range(key: &Bytes, end: &Bytes) -> String {
    let key = String::from_utf8_lossy(key);
    match end.as_ref() {
        b"" => key.into_owned(),
        b"\0" => format!("[{key}, <open ended>"),
        end => format!("[{key}, {})", String::from_utf8_lossy(end)),
    }
}
