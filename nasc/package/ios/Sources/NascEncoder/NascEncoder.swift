// SPDX-License-Identifier: Apache-2.0
// A text encoder in an app: texts in, vectors out.

import Foundation
import OnnxRuntimeBindings

/// Why an encoder gives nothing.
public enum NascEncoderError: Error, Equatable {
    /// It was closed: make another one.
    case closed
    /// The package's own file is not in the app, or is another one: build the app anew.
    case missingFile(String)
    /// The model gave something else than vectors: please report this.
    case noVectors
}

/// An encoder. Any number of threads may call it at once; it computes on the calling one, so call it
/// on none that draws.
public final class NascEncoder: @unchecked Sendable {
    private let tokenizer: Tokenizer
    private let environment: ORTEnv
    private let lock = NSLock()
    private var session: ORTSession?

    /// Numbers of a vector.
    public var dimensions: Int { contents.dimensions }

    /// Loads the tokenizer and the model, with the options that it was measured with.
    ///
    /// - Parameter threads: That a run may take; what the model was measured with, unless given.
    public init(threads: Int? = nil) throws {
        precondition((threads ?? 1) >= 1, "threads is a whole number from 1")
        let model = try NascEncoder.file(contents.model)
        tokenizer = try Tokenizer(contentsOf: NascEncoder.file(contents.tokenizer))
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(Int32(threads ?? contents.threads))
        try options.setGraphOptimizationLevel(.all)
        session = try ORTSession(
            env: environment, modelPath: model.path, sessionOptions: options
        )
    }

    /// The vector of a text.
    public func embed(_ text: String) throws -> [Float] {
        try embedBatch([text])[0]
    }

    /// The vectors of texts, in their order. A text at a time, unless the model takes more alone: the
    /// vectors of an int8 model feel their neighbours in a batch.
    public func embedBatch(_ texts: [String]) throws -> [[Float]] {
        let tokens = try texts.map { try tokenize($0) }
        let rows = max(contents.rows, 1)
        var vectors: [[Float]] = []
        for start in stride(from: 0, to: tokens.count, by: rows) {
            vectors += try run(Array(tokens[start ..< min(start + rows, tokens.count)]))
        }
        return vectors
    }

    /// The cosine of the angle between two vectors: 1 for texts of the same meaning.
    public func similarity(_ a: [Float], _ b: [Float]) -> Float {
        precondition(a.count == b.count, "vectors of different sizes have no similarity")
        var (ab, aa, bb) = (0.0, 0.0, 0.0)
        for (x, y) in zip(a, b) {
            ab += Double(x) * Double(y)
            aa += Double(x) * Double(x)
            bb += Double(y) * Double(y)
        }
        return aa > 0 && bb > 0 ? Float(ab / (aa * bb).squareRoot()) : 0
    }

    /// The tokens of a text, cut to what the model reads.
    public func tokenize(_ text: String) throws -> [Int64] {
        try tokenizer.encode(text, maxLength: contents.maxLength).ids
    }

    /// Ends it: calls that run come to their end, later ones are an error.
    public func close() {
        lock.lock()
        session = nil
        lock.unlock()
    }

    private func opened() throws -> ORTSession {
        lock.lock()
        defer { lock.unlock() }
        guard let session else {
            throw NascEncoderError.closed
        }
        return session
    }

    /// Runs texts at once: one, or at most as many as the model takes alone.
    private func run(_ texts: [[Int64]]) throws -> [[Float]] {
        let session = try opened()
        let rows = max(contents.rows, 1)
        let length = contents.tokens > 0 ? contents.tokens : texts[0].count
        var ids = [Int64](repeating: contents.padToken, count: rows * length)
        var mask = [Int64](repeating: 0, count: rows * length)
        for row in 0 ..< rows {
            let own = row < texts.count ? texts[row] : texts[0] // what fills up is not looked at
            for (i, token) in own.prefix(length).enumerated() {
                ids[row * length + i] = token
                mask[row * length + i] = 1
            }
        }
        let inputs = try [
            "input_ids": NascEncoder.tensor(ids, rows, length),
            "attention_mask": NascEncoder.tensor(mask, rows, length),
        ]
        let outputs = try session.run(
            withInputs: inputs, outputNames: [contents.output], runOptions: nil
        )
        guard let output = outputs[contents.output] else {
            throw NascEncoderError.noVectors
        }
        let size = contents.dimensions
        let found = try withExtendedLifetime(output) { // whose memory it is
            let data = try output.tensorData() as Data
            return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
        guard found.count == rows * size, found.allSatisfy({ $0.isFinite }) else {
            throw NascEncoderError.noVectors
        }
        return texts.indices.map { Array(found[$0 * size ..< ($0 + 1) * size]) }
    }

    private static func tensor(_ values: [Int64], _ rows: Int, _ length: Int) throws -> ORTValue {
        let data = values.withUnsafeBytes { Data($0) }
        return try ORTValue(
            tensorData: NSMutableData(data: data),
            elementType: .int64,
            shape: [NSNumber(value: rows), NSNumber(value: length)]
        )
    }

    private static func file(_ record: FileRecord) throws -> URL {
        let found = Bundle.module.url(
            forResource: record.name, withExtension: nil, subdirectory: "Resources"
        )
        guard let found,
            let size = try found.resourceValues(forKeys: [.fileSizeKey]).fileSize,
            size == record.sizeBytes
        else {
            throw NascEncoderError.missingFile(record.name)
        }
        return found
    }
}
