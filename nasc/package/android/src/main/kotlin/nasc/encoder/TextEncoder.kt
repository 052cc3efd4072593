// SPDX-License-Identifier: Apache-2.0
// Texts in, vectors out, by whatever runs the network: no Android, no onnxruntime.

package nasc.encoder

import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.write
import kotlin.math.sqrt

/** What runs the network. Any number of threads may call [run] at once. */
internal interface Network : AutoCloseable {
    /**
     * The vectors of texts, one after the other.
     *
     * @param ids and [mask]: tokens of all texts, and 1 where one is, 0 where the text is filled up
     */
    fun run(ids: LongArray, mask: LongArray, rows: Int, tokens: Int): FloatArray
}

/** An encoder. Any number of threads may call it at once; [close] waits for those that do. */
open class TextEncoder internal constructor(
    private val contents: ModelContents,
    private val tokenizer: Tokenizer,
    private val network: Network,
) : AutoCloseable {
    private val lock = ReentrantReadWriteLock()
    private var closed = false

    /** Numbers of a vector. */
    val dimensions: Int get() = contents.dimensions

    /**
     * The vector of a text. It computes on the calling thread: call it on none that draws.
     *
     * @throws TokenizerException if the text has a lone surrogate, which is no character
     * @throws IllegalStateException if the encoder is closed
     */
    fun embed(text: String): FloatArray = embedBatch(listOf(text))[0]

    /**
     * The vectors of texts, in their order. A text at a time, unless the model takes more alone: the
     * vectors of an int8 model feel their neighbours in a batch.
     *
     * @throws TokenizerException see [embed]; nothing is computed then
     * @throws IllegalStateException see [embed]
     */
    fun embedBatch(texts: List<String>): List<FloatArray> {
        val tokens = texts.map(::tokenize)
        return tokens.chunked(maxOf(contents.rows, 1)).flatMap { chunk ->
            lock.read {
                check(!closed) { "the encoder is closed: create another one" }
                run(chunk)
            }
        }
    }

    /** The cosine of the angle between two vectors: 1 for texts of the same meaning. */
    fun similarity(a: FloatArray, b: FloatArray): Float {
        require(a.size == b.size) {
            "vectors of ${a.size} and ${b.size} numbers have no similarity"
        }
        var ab = 0.0
        var aa = 0.0
        var bb = 0.0
        for (i in a.indices) {
            ab += a[i].toDouble() * b[i]
            aa += a[i].toDouble() * a[i]
            bb += b[i].toDouble() * b[i]
        }
        return if (aa > 0 && bb > 0) (ab / sqrt(aa * bb)).toFloat() else 0f
    }

    /** The tokens of a text, cut to what the model reads. */
    fun tokenize(text: String): IntArray =
        tokenizer.encode(text, maxLength = contents.maxLength).ids

    /** Ends it, once what was asked of it is done. To close it again does nothing. */
    override fun close() = lock.write {
        if (!closed) {
            closed = true
            network.close()
        }
    }

    /** Runs texts at once: one, or at most as many as the model takes alone. */
    private fun run(texts: List<IntArray>): List<FloatArray> {
        val rows = maxOf(contents.rows, 1)
        val length = if (contents.tokens > 0) contents.tokens else texts[0].size
        val ids = LongArray(rows * length) { contents.padToken.toLong() }
        val mask = LongArray(rows * length)
        for (row in 0 until rows) {
            val own = texts.getOrElse(row) { texts[0] } // what fills a batch up is not looked at
            for (i in 0 until minOf(own.size, length)) {
                ids[row * length + i] = own[i].toLong()
                mask[row * length + i] = 1
            }
        }
        val found = network.run(ids, mask, rows, length)
        val size = contents.dimensions
        check(found.size == rows * size && found.all { it.isFinite() }) {
            "the model gave something else than vectors: please report this"
        }
        return texts.indices.map { found.copyOfRange(it * size, (it + 1) * size) }
    }
}
