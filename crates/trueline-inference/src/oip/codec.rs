//! Messages of gRPC. What can't be decoded is the caller's fault and told as such, where tonic's own codec tells of a fault of
//! the server.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Reads messages `M` and writes messages `R`.
#[derive(Debug)]
pub(super) struct Messages<M, R>(PhantomData<(M, R)>);

impl<M, R> Default for Messages<M, R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M, R> Codec for Messages<M, R>
where
    M: Message + Default + 'static,
    R: Message + 'static,
{
    type Encode = R;
    type Decode = M;
    type Encoder = Writer<R>;
    type Decoder = Reader<M>;

    fn encoder(&mut self) -> Writer<R> {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Reader<M> {
        Reader(PhantomData)
    }
}

#[derive(Debug)]
pub(super) struct Writer<R>(PhantomData<R>);

impl<R: Message> Encoder for Writer<R> {
    type Item = R;
    type Error = Status;

    fn encode(&mut self, message: R, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|e| Status::internal(e.to_string()))
    }
}

#[derive(Debug)]
pub(super) struct Reader<M>(PhantomData<M>);

impl<M: Message + Default> Decoder for Reader<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let read = M::decode(buffer).map(Some);
        read.map_err(|e| Status::invalid_argument(format!("the message can't be read: {e}")))
    }
}
