// SPDX-License-Identifier: Apache-2.0
// Prints what the Kotlin of a package makes of its golden texts, as one line of JSON.

package nasc.encoder

import java.io.File

/** Run with the folder of the package. */
object GoldenCheck {
    /** @param arguments the folder */
    @JvmStatic
    fun main(arguments: Array<String>) {
        val module = File(arguments[0])
        val (count, wrong) = wrongTexts(module, tokenizerOf(module))
        println("""{"texts": $count, "wrong": [${wrong.joinToString { quoted(it) }}]}""")
    }

    private fun quoted(text: String): String =
        text.map { "\\u%04x".format(it.code) }.joinToString("", "\"", "\"")
}
