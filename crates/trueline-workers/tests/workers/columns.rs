//! Columns in, answers out.

use crate::house::{column, model, soon, start};
use trueline_tensors::Values;
use trueline_workers::{Columns, Invocation, Output};

#[tokio::test]
async fn a_model_of_sklearn_answers_columns_and_bodies_alike() {
    let worker = start("sklearn").await;
    let rows: Vec<f64> = (0..50).map(|n| f64::from(n) / 10.0 - 2.5).collect();
    let table = Columns::table(["a", "b", "c"].map(|name| column(name, Values::Fp64(rows.clone()))).into());
    let predicted = worker.predict(&table, soon()).await.unwrap();
    let Output::Array(tensor) = &predicted.output else { panic!("{predicted:?}") };
    assert_eq!(tensor.shape(), [50]);
    let data: Vec<[f64; 3]> = rows.iter().map(|v| [*v; 3]).collect();
    let body = serde_json::json!({"dataframe_split": {"columns": ["a", "b", "c"], "data": data}});
    let body = Invocation { content_type: "application/json".to_owned(), body: body.to_string().into() };
    let reply = worker.invoke(&body, soon()).await.unwrap();
    assert_eq!((reply.status, reply.content_type.as_str()), (200, "application/json"));
    assert_eq!(reply.body, predicted.output.predictions());
    let _ = model("sklearn");
}
