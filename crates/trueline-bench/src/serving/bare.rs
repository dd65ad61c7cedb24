//! What the servers are held against: the scorer of trees in a loop, without any server, and a server that does nothing.

use crate::http::Connection;
use anyhow::ensure;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use trueline_trees::{Model, Rows};

const MEASURED: Duration = Duration::from_secs(1);

/// The scorer with a model and rows.
pub(super) struct Scorer {
    model: Model,
    values: Vec<f32>,
}

impl Scorer {
    /// Of a model that MLflow saved.
    pub(super) fn open(model: &Path, values: Vec<f32>) -> anyhow::Result<Self> {
        let model = Model::from_bytes(&std::fs::read(model.join("model.ubj"))?)?;
        ensure!(model.value_width() == 1, "a model with more than one output");
        Ok(Self { model, values })
    }

    /// What it answers for the first row.
    pub(super) fn first(&self) -> anyhow::Result<f64> {
        let mut out = [0.0];
        self.model.predict(Rows::new(self.row(0), self.model.num_feature())?, &mut out)?;
        Ok(f64::from(out[0]))
    }

    fn row(&self, at: usize) -> &[f32] {
        let columns = self.model.num_feature();
        &self.values[at * columns..(at + 1) * columns]
    }

    /// Nanoseconds for a row, with so many rows in a call: the median over rounds through all rows.
    pub(super) fn nanoseconds_per_row(&self, rows: usize) -> anyhow::Result<f64> {
        let columns = self.model.num_feature();
        let mut out = vec![0.0; rows];
        let (mut rounds, began) = (Vec::new(), Instant::now());
        while began.elapsed() < MEASURED || rounds.is_empty() {
            let round = Instant::now();
            for chunk in self.values.chunks_exact(rows * columns) {
                self.model.predict(Rows::new(std::hint::black_box(chunk), columns)?, &mut out)?;
                std::hint::black_box(&mut out);
            }
            rounds.push(round.elapsed());
        }
        rounds.sort_unstable();
        #[allow(clippy::cast_precision_loss)]
        let all = (self.values.len() / columns) as f64;
        Ok(rounds[rounds.len() / 2].as_secs_f64() * 1e9 / all)
    }
}

/// A server in this process that answers every request of `length` bytes with an answer of a usual size, a thread for each
/// connection: what the load generator can send at most. It ends
/// with this process.
pub(super) fn idle_server(length: usize) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, length));
        }
    });
    // It is there when a connection can be made.
    Connection::open(address, MEASURED)?;
    Ok(address)
}

fn answer(mut stream: TcpStream, length: usize) {
    let body = r#"{"predictions":[0.123456789012345678]}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let said = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut request = vec![0; length];
    // A peer that goes away is the end.
    while stream.read_exact(&mut request).is_ok() && stream.write_all(said.as_bytes()).is_ok() {}
}
