//! Developer commands of the workspace; see `cargo xtask help`.

fn main() -> anyhow::Result<()> {
    anyhow::bail!("no command yet")
}
