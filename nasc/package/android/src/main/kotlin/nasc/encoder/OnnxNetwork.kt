// SPDX-License-Identifier: Apache-2.0
// The network by onnxruntime, with the options that it was measured with.

package nasc.encoder

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.LongBuffer

/**
 * @param model the bytes of the model, in memory that is not Java's own, such as a mapped file. Of one
 *     in onnxruntime's own format the weights are used there, for as long as this is open.
 */
internal class OnnxNetwork(
    private val model: ByteBuffer,
    private val output: String,
    threads: Int,
) : Network {
    private val environment: OrtEnvironment = OrtEnvironment.getEnvironment()
    private val options = OrtSession.SessionOptions() // has to stay open as long as the session
    private val session: OrtSession

    init {
        try {
            options.setIntraOpNumThreads(threads)
            options.setInterOpNumThreads(1)
            options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL)
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT)
            // Of its own format alone: an .onnx is copied.
            options.addConfigEntry("session.use_ort_model_bytes_directly", "1")
            options.addConfigEntry("session.use_ort_model_bytes_for_initializers", "1")
            session = environment.createSession(model, options)
        } catch (error: Throwable) {
            options.close()
            throw error
        }
    }

    override fun run(ids: LongArray, mask: LongArray, rows: Int, tokens: Int): FloatArray {
        val shape = longArrayOf(rows.toLong(), tokens.toLong())
        return OnnxTensor.createTensor(environment, LongBuffer.wrap(ids), shape).use { words ->
            OnnxTensor.createTensor(environment, LongBuffer.wrap(mask), shape).use { seen ->
                val inputs = mapOf("input_ids" to words, "attention_mask" to seen)
                session.run(inputs, setOf(output)).use { results ->
                    val values = (results.get(0) as OnnxTensor).floatBuffer
                    FloatArray(values.remaining()).also { values.get(it) }
                }
            }
        }
    }

    override fun close() {
        session.close()
        options.close()
        val memory: Buffer = model // whose `clear` every Android has
        memory.clear() // so that it is held until here: a build leaves out what nobody reads
    }
}
