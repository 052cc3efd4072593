// SPDX-License-Identifier: Apache-2.0
// What a package says of itself to its own code; Contents.kt holds that of this one.

package nasc.encoder

/** A file among the assets. */
internal class AssetRecord(val name: String, val sizeBytes: Long, val sha256: String)

/**
 * @property rows and [tokens]: of the only inputs that the model takes; 0 if both are free
 * @property threads that it was measured with
 */
internal class ModelContents(
    val model: AssetRecord,
    val tokenizer: AssetRecord,
    val dimensions: Int,
    val maxLength: Int,
    val padToken: Int,
    val rows: Int,
    val tokens: Int,
    val output: String,
    val threads: Int,
)
