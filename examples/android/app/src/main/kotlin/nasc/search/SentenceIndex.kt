// SPDX-License-Identifier: Apache-2.0
// Sentences by their meaning: all are embedded once, a query is compared with each.

package nasc.search

import nasc.encoder.TextEncoder

/** A sentence, and how near it is to a query: 1 for the same meaning. */
class Found(val sentence: String, val similarity: Float)

/** @param told called after each sentence with how many are done; it takes a while */
class SentenceIndex(
    private val encoder: TextEncoder,
    private val sentences: List<String>,
    told: (Int) -> Unit = {},
) {
    private val vectors = sentences.mapIndexed { done, sentence ->
        encoder.embed(sentence).also { told(done + 1) }
    }

    /** The sentences that are nearest to a query, the nearest first. */
    fun nearest(query: String, count: Int): List<Found> {
        val asked = encoder.embed(query)
        return sentences.indices
            .map { Found(sentences[it], encoder.similarity(asked, vectors[it])) }
            .sortedByDescending { it.similarity }
            .take(count)
    }
}
