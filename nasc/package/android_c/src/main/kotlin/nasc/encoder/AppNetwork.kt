// SPDX-License-Identifier: Apache-2.0
// The model in libnasc_jni.so.

package nasc.encoder

import android.content.Context

/** @throws IllegalStateException see [NativeNetwork] */
@Suppress("UNUSED_PARAMETER")
internal fun networkOf(context: Context, threads: Int): Network = NativeNetwork(threads)
