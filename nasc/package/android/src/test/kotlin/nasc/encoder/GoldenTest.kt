// SPDX-License-Identifier: Apache-2.0
// ./gradlew :nasc-encoder:testDebugUnitTest, on a computer, by onnxruntime's Java API for it.

package nasc.encoder

import java.io.File
import java.io.RandomAccessFile
import java.nio.channels.FileChannel
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** What comes is what Python gives. */
class GoldenTest {
    private val module = File(System.getProperty("nasc.module") ?: ".")

    @Test
    fun tokensAreThoseOfHuggingFace() {
        val (count, wrong) = wrongTexts(module, tokenizerOf(module))
        assertEquals(emptyList<String>(), wrong)
        assertTrue("$count texts", count >= 2000)
    }

    @Test
    fun vectorsAreThoseOfPython() {
        val path = File(module, "src/main/assets/nasc/${CONTENTS.model.name}")
        val model = RandomAccessFile(path, "r").use {
            it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length())
        }
        val network = OnnxNetwork(model, CONTENTS.output, CONTENTS.threads)
        TextEncoder(CONTENTS, tokenizerOf(module), network).use { encoder ->
            val (off, allowed) = vectorsOff(module, encoder)
            assertTrue("vectors differ by $off, $allowed are allowed", off <= allowed)
        }
    }
}
