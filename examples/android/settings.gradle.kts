// SPDX-License-Identifier: Apache-2.0
// Search over sentences, on the phone alone. nasc-encoder is the folder that nasc compile wrote:
//   cp -r ../../encoder-android nasc-encoder       (or encoder-android-c, which needs the NDK)

pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "nasc-search"
include(":app", ":nasc-encoder")
