using System;

namespace CoreFn
{
    /// <summary>
    /// Exports a public method of a public class: as <c>Type.Method</c>, it is called from outside with the body of a
    /// request as its argument, and what it returns is the answer.
    /// </summary>
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class ExportedFunctionAttribute : Attribute
    {
    }
}
