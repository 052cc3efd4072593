// SPDX-License-Identifier: Apache-2.0
// The package's golden texts: what Hugging Face's tokenizers and the model in Python make of them.

package nasc.encoder

import java.io.File
import kotlin.math.abs

private const val SHOWN = 3

internal fun tokenizerOf(module: File) =
    Tokenizer(File(module, "src/main/assets/nasc/${CONTENTS.tokenizer.name}").readBytes())

/** How many golden texts there are, and the beginnings of some that have other tokens. */
internal fun wrongTexts(module: File, tokenizer: Tokenizer): Pair<Int, List<String>> {
    val lines = File(module, "tokenizer_golden.jsonl").readLines().drop(1)
    val wrong = lines.map { readJson(it) as Map<*, *> }.filter {
        val longest = (it["max_length"] as Double?)?.toInt() ?: 0
        val found = tokenizer.encode(it["text"] as String, it["pair"] as String?, longest)
        !found.ids.contentEquals(wholes(it["ids"])) ||
            !found.typeIds.contentEquals(wholes(it["type_ids"]))
    }
    return lines.size to wrong.take(SHOWN).map { (it["text"] as String).take(40) }
}

/** How far the vectors of golden.json are off, and how far they may be. */
internal fun vectorsOff(module: File, encoder: TextEncoder): Pair<Double, Double> {
    val golden = readJson(File(module, "golden.json").readText()) as Map<*, *>
    val texts = (golden["texts"] as List<*>).map { it as Map<*, *> }
    val vectors = encoder.embedBatch(texts.map { it["text"] as String })
    val off = texts.zip(vectors).maxOf { (text, vector) ->
        val stated = (text["vector"] as List<*>).map { it as Double }
        require(stated.size == vector.size) { "a vector has another size" }
        stated.indices.maxOf { abs(stated[it] - vector[it]) }
    }
    return off to golden["tolerance"] as Double
}

private fun wholes(list: Any?): IntArray =
    (list as List<*>).map { (it as Double).toInt() }.toIntArray()
