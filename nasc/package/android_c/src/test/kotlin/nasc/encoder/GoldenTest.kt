// SPDX-License-Identifier: Apache-2.0
// ./gradlew :nasc-encoder:testDebugUnitTest, on a computer: the library is for a phone.

package nasc.encoder

import java.io.File
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
}
